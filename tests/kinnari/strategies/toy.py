"""A language model small enough to train under every strategy within seconds, and the module that trains it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from peft import LoraConfig, get_peft_model
from pytorch_lightning.callbacks import Callback
from torch.utils.data import DataLoader, Dataset
from transformers import LlamaConfig, LlamaForCausalLM

from kinnari.strategies.microbatches import loss_factor, micro_batch_sync, step_with_clipping, sum_gradients, sum_over_ranks
from kinnari.strategies.parallel import build_strategy
from kinnari.strategies.sharding import shard_fsdp2

VOCABULARY = 64
STEPS = 6
GLOBAL_ROWS = 8


def toy_model(
    tuning: str = "full", tied: bool = False, base_dtype: torch.dtype = torch.float32, recompute: bool = False
) -> torch.nn.Module:
    """Llama of 2 blocks, hidden 32. Its MLP width 27 is odd: two ranks hold unequal shards."""
    torch.manual_seed(5)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=27,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=32,
        tie_word_embeddings=tied,
    )
    model = LlamaForCausalLM(config)
    if tuning == "qlora":
        _quantise_blocks(model, base_dtype)
    if recompute:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if tuning in ("lora", "qlora"):
        base = model if tuning == "qlora" else model.to(base_dtype)
        model = get_peft_model(base, LoraConfig(r=3, lora_alpha=8, target_modules=["q_proj", "up_proj"]))
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                # adapters start with B = 0; not zero here, so that both factors get gradients at the first step
                parameter.data = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name))) * 0.1
    return model.train()


def _quantise_blocks(model: torch.nn.Module, storage: torch.dtype) -> None:
    """Replace the linear layers of the blocks by NF4 layers with double quantisation, packed in tensors of dtype `storage`."""
    import bitsandbytes as bnb

    for module in list(model.model.layers.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, torch.nn.Linear):
                packed = bnb.nn.Linear4bit(
                    child.in_features,
                    child.out_features,
                    bias=False,
                    compute_dtype=storage,
                    quant_type="nf4",
                    quant_storage=storage,
                )
                packed.weight = bnb.nn.Params4bit(child.weight.detach(), requires_grad=False, quant_type="nf4", quant_storage=storage)
                setattr(module, name, packed.to("cpu"))


def micro_batches(step: int, rank: int, world_size: int) -> tuple[list[dict[str, torch.Tensor]], int]:
    """This rank's share of the GLOBAL_ROWS rows of a step, two rows a micro-batch, and the trained tokens of all rows."""
    generator = torch.Generator().manual_seed(1000 + step)
    input_ids = torch.randint(VOCABULARY, (GLOBAL_ROWS, 12), generator=generator)
    labels = input_ids.clone()
    for row in range(GLOBAL_ROWS):
        labels[row, : 2 + (row * 5 + step) % 9] = -100  # rows of 2 to 10 trained tokens
    tokens = int((labels[:, 1:] != -100).sum())
    rows = torch.arange(GLOBAL_ROWS).chunk(world_size)[rank]
    return [{"input_ids": input_ids[part], "labels": labels[part]} for part in rows.split(2)], tokens


class Steps(Dataset):
    """Item `i` is the step `first + i`: a resumed Trainer starts its loader at item 0 again."""

    def __init__(self, rank: int, world_size: int, first: int = 0) -> None:
        self.rank, self.world_size, self.first = rank, world_size, first

    def __len__(self) -> int:
        return STEPS

    def __getitem__(self, step: int) -> tuple[list[dict[str, torch.Tensor]], int]:
        return micro_batches(self.first + step, self.rank, self.world_size)


class ToySFT(pl.LightningModule):
    """Manual optimisation over micro-batches, AdamW with two parameter groups and a decaying learning rate."""

    def __init__(self, model: torch.nn.Module, precision: str = "32-true", clip: float | None = None, lr: float = 3e-3) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = model
        self.precision, self.clip, self.lr = precision, clip, lr
        self.losses: list[float] = []
        self.norms: list[float] = []
        self.validated: list[float] = []

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.model(input_ids=input_ids).logits

    def configure_model(self) -> None:
        if self._device_mesh is not None:
            shard_fsdp2(self.model, ["LlamaDecoderLayer"], self.device_mesh["data_parallel"], self.precision)

    def configure_optimizers(self) -> Any:
        named = [(name, parameter) for name, parameter in self.named_parameters() if parameter.requires_grad]
        second = [parameter for name, parameter in named if "norm" in name or "lora_B" in name]
        first = [parameter for name, parameter in named if not ("norm" in name or "lora_B" in name)]
        optimizer = torch.optim.AdamW([{"params": first, "weight_decay": 0.1}, {"params": second, "weight_decay": 0.0}], lr=self.lr)
        return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + 0.2 * step))]

    def training_step(self, batch: Any, batch_idx: int) -> None:
        parts, step_tokens = batch
        strategy = self.trainer.strategy
        nll = torch.zeros(())
        for number, part in enumerate(parts):
            with micro_batch_sync(strategy, is_last=number == len(parts) - 1):
                logits = self(part["input_ids"])[:, :-1].float()
                loss = torch.nn.functional.cross_entropy(
                    logits.reshape(-1, VOCABULARY), part["labels"][:, 1:].reshape(-1), ignore_index=-100, reduction="sum"
                )
                self.manual_backward(loss / step_tokens * loss_factor(strategy))
                nll = nll + loss.detach()
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        sum_gradients(strategy, trained)
        optimizer = self.optimizers()
        self.norms.append(step_with_clipping(strategy, optimizer, trained, self.clip))
        optimizer.zero_grad()
        self.lr_schedulers().step()
        self.losses.append(float(sum_over_ranks(strategy, nll.reshape(1))[0]) / step_tokens)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        logits = self(batch[0][0]["input_ids"])
        self.validated.append(float(logits.float().square().mean()))


class SaveAt(Callback):
    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer: pl.Trainer, *unused: Any) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


def train(
    name: str,
    world_size: int = 1,
    rank: int = 0,
    *,
    model: torch.nn.Module | None = None,
    tuning: str = "full",
    tied: bool = False,
    base_dtype: torch.dtype = torch.float32,
    precision: str = "32-true",
    clip: float | None = None,
    save: Path | None = None,
    resume: Path | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Train STEPS steps. Returns: losses and norms per step, final trainable weights (rank 0), global step."""
    strategy = build_strategy(name, accelerator="cpu", devices=world_size, precision=precision, gradient_clip=clip, timeout_s=60, **options)
    if name == "deepspeed_zero3":  # otherwise every layer of so small a model would stay gathered
        strategy.config["zero_optimization"]["stage3_param_persistence_threshold"] = 0
    module = ToySFT(toy_model(tuning, tied, base_dtype) if model is None else model, precision, clip)
    trainer = pl.Trainer(
        strategy=strategy,
        accelerator="cpu",
        devices=world_size,
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[SaveAt(3, save)] if save is not None else [],
        use_distributed_sampler=False,
    )
    loader = DataLoader(Steps(rank, world_size, 3 if resume is not None else 0), batch_size=None)
    trainer.fit(module, loader, ckpt_path=resume)
    weights = strategy.lightning_module_state_dict()
    return {"losses": module.losses, "norms": module.norms, "weights": weights, "step": trainer.global_step}
