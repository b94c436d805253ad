"""A tiny T5 that trains under every strategy, on records whose sources and targets differ in length."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from kinnari.models.load import load_model
from kinnari.strategies.fine_tuning import FineTuningSettings
from kinnari.strategies.parallel import build_strategy
from kinnari.strategies.precision import COMPUTE_DTYPES
from kinnari.strategies.tuning import Tuning, apply_tuning, quantization_config
from kinnari.tasks.build import model_spec
from kinnari.tasks.compose import compose
from kinnari.text.plan import BatchPlan
from kinnari.text.records import TokenizedRecords, Tokens, flatten
from kinnari.text.steps import StepDataset
from lightning_modules import Seq2SeqSFT

STEPS = 3
# without dropout: ranks draw other masks than one process
SPEC = model_spec(compose(["model=tiny_seq2seq", "+model.toy.dropout_rate=0.0"]))


def records(count: int = STEPS * 8) -> TokenizedRecords:
    """Sources of 3 to 20 tokens, targets of 2 to 15; ids as in real rows: EOS (2) at both ends."""
    rng = np.random.default_rng(0)
    tokens = []
    for _ in range(count):
        source, target = int(rng.integers(3, 21)), int(rng.integers(2, 16))
        ids = rng.integers(6, 262, source + target)
        ids[source - 1] = ids[-1] = 2
        tokens.append(Tokens(ids.tolist(), [i >= source for i in range(source + target)]))
    return flatten(tokens, [f"r:{i}" for i in range(count)], ["s"] * count, {})


def steps(rank: int, world_size: int) -> StepDataset:
    data = records()
    plan = BatchPlan(
        lengths=data.lengths, trained_counts=data.trained_counts, weights=np.ones(len(data)), global_size=8, micro_size=2,
        world_size=world_size, packing="length_grouped", capacity=64, seed=0, seq2seq=True,
    )  # fmt: skip
    return StepDataset(data, plan, rank, pad_id=0, seq2seq=True)


def module_of(tuning: str, *, precision: str = "32-true", sharded: bool = False, growth: float = 1.0, **options: Any) -> Seq2SeqSFT:
    """A module as the task builds it; `growth` multiplies what feed-forward layers add, see `models.half_precision`."""
    chosen = Tuning(name=tuning, r=3, **options)  # type: ignore[arg-type]
    compute = COMPUTE_DTYPES[precision]
    dtype = torch.float32 if tuning == "full" else compute
    model = load_model(SPEC, dtype=dtype, quantization=quantization_config(chosen, compute, sharded))
    for parameter in (p for name, p in model.named_parameters() if name.endswith("wo.weight")):
        parameter.data *= growth
    torch.manual_seed(0)
    tuned: Any = apply_tuning(model, chosen, SPEC)
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            # adapters start with B = 0; not zero here, so that both factors get gradients at the first step
            parameter.data = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name))) * 0.05
    settings = FineTuningSettings(
        optimizer=lambda groups: torch.optim.AdamW(groups, lr=1e-3),
        scheduler=lambda optimizer, total_steps: torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0),
        total_steps=STEPS,
        gradient_clip=0.5,
        block_classes=SPEC.block_classes,
        precision=precision,
    )
    return Seq2SeqSFT(tuned, settings)


class Curve(pl.Callback):
    """Loss and gradient norm of every step."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.norms: list[float] = []

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, *unused: Any) -> None:
        self.losses.append(module.tuning.last.loss)
        self.norms.append(float(module.tuning.gradient_norm))


def train(strategy: str, tuning: str, world_size: int = 1, rank: int = 0, *, precision: str = "32-true", **options: Any) -> dict[str, Any]:
    """STEPS steps; losses, norms and the trained weights."""
    module = module_of(tuning, precision=precision, sharded=strategy in ("fsdp", "deepspeed_zero3"), **options)
    limit = module.tuning.settings.gradient_clip
    chosen = build_strategy(strategy, accelerator="cpu", devices=world_size, precision=precision, gradient_clip=limit, timeout_s=60)
    if precision == "16-mixed":  # a loss scale that has settled: until then steps are skipped
        chosen.precision_plugin.scaler = torch.amp.GradScaler("cpu", init_scale=32.0)  # type: ignore[attr-defined]
    curve = Curve()
    trainer = pl.Trainer(
        strategy=chosen,
        accelerator="cpu",
        devices=world_size,
        max_steps=STEPS,
        max_epochs=-1,
        logger=False,
        callbacks=[curve],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        use_distributed_sampler=False,
    )
    trainer.fit(module, DataLoader(steps(rank, world_size), batch_size=None))
    return {"losses": curve.losses, "norms": curve.norms, "weights": chosen.lightning_module_state_dict()}
