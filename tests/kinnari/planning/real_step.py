"""A few real optimizer steps on the CPU under the trainer, and the most bytes of live tensors: what plans are held to."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from kinnari.models.load import load_model
from kinnari.models.reward import RewardSettings
from kinnari.models.spec import ModelSpec
from kinnari.models.toy import byte_tokenizer
from kinnari.planning.live_bytes import LiveBytes
from kinnari.planning.request import Freezing, Hardware, Parallel, PlanRequest, RowTokens
from kinnari.rollouts.settings import PPOSettings
from kinnari.strategies.fine_tuning import FineTuningSettings
from kinnari.strategies.optimizers import build_optimizer
from kinnari.strategies.parallel import build_strategy
from kinnari.strategies.precision import COMPUTE_DTYPES, weight_dtype
from kinnari.strategies.tuning import Tuning, apply_tuning, quantization_config
from kinnari.tasks.build import model_spec
from kinnari.tasks.compose import compose
from kinnari.text.prompts import Prompt, PromptShare
from lightning_modules import CausalLMSFT, RewardModel, Seq2SeqSFT
from lightning_modules.ppo import PPOModule

STEPS = 2
TOYS: dict[str, dict[str, Any]] = {
    "tiny_causal": {"hidden_size": 128, "intermediate_size": 320, "num_hidden_layers": 5, "vocab_size": 1000},
    "tiny_seq2seq": {"d_model": 128, "d_ff": 256, "num_layers": 4, "num_decoder_layers": 3, "vocab_size": 1000},
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One row of the grid."""

    model: str = "tiny_causal"
    shapes: tuple[tuple[str, Any], ...] = ()
    tuning: str = "full"
    checkpointing: bool = False
    precision: str = "32-true"
    rows: int = 2
    width: int = 128
    accumulated: int = 1
    packed: bool = False
    chunked: bool = True
    optimizer: str = "adamw"
    task: str = "sft"
    freezing: Freezing = field(default_factory=Freezing)
    ppo: PPOSettings = field(default_factory=lambda: PPOSettings(num_rollouts=4, epochs=1, response_length=24))

    @property
    def spec(self) -> ModelSpec:
        spec = model_spec(compose([f"model={self.model}"]))
        return replace(spec, toy=dict(spec.toy or {}) | TOYS[self.model] | dict(self.shapes))

    @property
    def request(self) -> PlanRequest:
        return PlanRequest(
            spec=self.spec,
            tuning=Tuning(name=self.tuning, r=4, gradient_checkpointing=self.checkpointing),
            parallel=Parallel("single"),
            hardware=Hardware(),
            rows=RowTokens(width=self.width, packed=self.packed, target_width=self.width // 2),
            precision=self.precision,
            micro_size=self.rows,
            global_size=self.rows * self.accumulated,
            optimizer=self.optimizer,
            chunked_loss=self.chunked,
            task=self.task,  # type: ignore[arg-type]
            freezing=self.freezing,
            ppo=self.ppo,
        )


def measured_bytes(case: Case) -> int:
    """Highest bytes of live tensors over `STEPS` optimizer steps of the real module."""
    request = case.request
    module = _module(case, request)
    live = LiveBytes()
    live.hold(module, lambda name: "weights")
    trainer = pl.Trainer(
        strategy=build_strategy("single", accelerator="cpu", devices=1, precision=case.precision, gradient_clip=1.0, timeout_s=60),
        accelerator="cpu",
        max_steps=STEPS * _optimizer_steps(case),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    items = [_item(case) for _ in range(STEPS)]
    with live:
        trainer.fit(module, DataLoader(items, batch_size=None))
    return live.peak()


def _optimizer_steps(case: Case) -> int:
    return case.ppo.epochs * (case.ppo.num_rollouts // (case.rows * case.accumulated)) if case.task == "ppo" else 1


def _module(case: Case, request: PlanRequest) -> pl.LightningModule:
    spec, tuning = request.spec, request.tuning
    compute = COMPUTE_DTYPES[case.precision]
    quantization = quantization_config(tuning, compute, sharded=False)
    weights = weight_dtype(spec.dtype, tuning.name, case.precision)
    model = apply_tuning(load_model(spec, dtype=weights, quantization=quantization), tuning, spec)

    def optimizer(groups: Any) -> torch.optim.Optimizer:
        return build_optimizer(groups, name=case.optimizer, lr=1e-4)

    settings = FineTuningSettings(
        optimizer=optimizer, total_steps=10, chunked_loss=case.chunked, block_classes=spec.block_classes, precision=case.precision
    )
    if case.task == "ppo":
        return PPOModule(model, byte_tokenizer(), lambda rollouts: [0.5] * len(rollouts), case.ppo, settings,
                         global_size=request.global_size, micro_size=case.rows)  # fmt: skip
    if case.task == "reward":
        freezing = case.freezing
        reward = RewardSettings(freeze_fraction=freezing.fraction, train_embeddings=freezing.train_embeddings,
                                checkpoint_frozen=freezing.checkpoint_frozen, share_prompts=False)  # fmt: skip
        return RewardModel(model, settings, reward)
    return Seq2SeqSFT(model, settings) if spec.architecture == "seq2seq" else CausalLMSFT(model, settings, packing=spec.packing)


def _item(case: Case) -> Any:
    drawn = torch.Generator().manual_seed(0)
    if case.task == "ppo":
        ids = torch.randint(10, 250, (case.ppo.num_rollouts, case.width), generator=drawn).tolist()
        # of unequal lengths, as prompts are: rows without any padding would need no mask
        return PromptShare([Prompt((), row[2 * i :], f"r:{i}", "") for i, row in enumerate(ids)])
    return [_batch(case, drawn) for _ in range(case.accumulated)]


def _batch(case: Case, drawn: torch.Generator) -> dict[str, Any]:
    rows = case.rows * (2 if case.task == "reward" else 1)
    ids = torch.randint(10, 250, (rows, case.width), generator=drawn)
    mask = torch.ones_like(ids)
    mask[-1, -3:] = 0  # padded, as rows of unequal records are
    seq2seq = case.spec.architecture == "seq2seq"
    labels = ids[:, : case.width // 2].clone() if seq2seq else ids.clone()
    batch: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "labels": labels, "step_tokens": labels.numel(),
                             "record_ids": [str(i) for i in range(rows)]}  # fmt: skip
    if case.task == "reward":
        batch |= {"step_tokens": rows // 2, "rows_together": 2}
    if case.packed:
        half = case.width // 2
        batch["position_ids"] = torch.arange(half).repeat(2).expand(rows, -1)
        batch["segment_ids"] = torch.arange(2).repeat_interleave(half).expand(rows, -1)
    return batch


VOCABULARY = (("vocab_size", 8000),)
SEPARATE = PPOSettings(num_rollouts=4, epochs=1, response_length=24, critic="separate")
GRID = {
    "full": Case(),
    "full long": Case(rows=4, width=256),
    "full accumulated": Case(accumulated=2),
    "full recomputed": Case(checkpointing=True, rows=4, width=256),
    "full bf16": Case(precision="bf16-mixed"),
    "full bf16 accumulated": Case(precision="bf16-mixed", accumulated=3),
    "full bf16 recomputed": Case(rows=4, width=256, precision="bf16-mixed", checkpointing=True),
    "full bf16-true": Case(precision="bf16-true"),
    "full vocabulary": Case(shapes=VOCABULARY),
    "full vocabulary, whole logits": Case(shapes=VOCABULARY, chunked=False),
    "lora": Case(tuning="lora", rows=4, width=256),
    "lora bf16": Case(tuning="lora", precision="bf16-mixed", rows=4, width=256),
    "lora recomputed": Case(tuning="lora", checkpointing=True, rows=4, width=256),
    "qlora": Case(tuning="qlora", rows=4),
    "qlora recomputed": Case(tuning="qlora", rows=4, precision="bf16-mixed", checkpointing=True),
    "int8": Case(tuning="lora_int8", rows=4),
    "packed": Case(packed=True, rows=4, width=256),
    "seq2seq": Case(model="tiny_seq2seq", rows=4),
    "seq2seq bf16": Case(model="tiny_seq2seq", rows=4, precision="bf16-mixed"),
    "seq2seq lora": Case(model="tiny_seq2seq", tuning="lora", rows=4),
    "8-bit optimizer": Case(optimizer="adamw_8bit"),
    "adafactor": Case(optimizer="adafactor"),
    "lion": Case(optimizer="lion"),
    "reward": Case(task="reward"),
    "reward, embeddings frozen": Case(task="reward", freezing=Freezing(train_embeddings=False)),
    "reward, frozen blocks recomputed": Case(task="reward", freezing=Freezing(checkpoint_frozen=True), rows=4),
    "reward lora": Case(task="reward", tuning="lora"),
    "ppo": Case(task="ppo", tuning="lora"),
    "ppo full": Case(task="ppo"),
    "ppo, separate critic": Case(task="ppo", tuning="lora", ppo=SEPARATE),
    "ppo full, separate critic": Case(task="ppo", ppo=SEPARATE),
}
"""What the docs' table shows; every one is planned and run."""
