"""Tokens per second, padding and MFU in the logs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from peft import PeftModel

from kinnari.strategies.microbatches import sum_over_ranks
from kinnari.strategies.throughput import ModelFlops, TokenMeter, model_flops
from kinnari.text.batches import Batch


class Throughput(pl.Callback):
    """Logs train/tokens_per_second, train/trained_tokens_per_second, train/padding_fraction and train/mfu (train/hfu too under
    gradient checkpointing), over the steps since it logged last and over all ranks.

    A step's time is its own and that of fetching its batch; validation, checkpoints and what callbacks do within `no_training_time`
    are not counted.

    Args:
        every_n_steps: optimizer steps between two values.
        peak_tflops: of one device at the precision in use, 10^12 FLOP/s, dense; None leaves MFU out.
    """

    def __init__(self, every_n_steps: int = 10, peak_tflops: float | None = None) -> None:
        self.every_n_steps, self.peak_tflops = every_n_steps, peak_tflops
        self.meter = TokenMeter()
        self.flops: ModelFlops | None = None
        self._ended: float | None = None
        self._began = 0.0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        # Now, because under ZeRO-3 a parameter that is partitioned has no elements.
        model: Any = pl_module.model
        base: Any = model.get_base_model() if isinstance(model, PeftModel) else model
        self.flops = model_flops(model, base)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: list[Batch], batch_idx: int) -> None:
        now = time.perf_counter()
        self._began = now if self._ended is None else self._ended
        tuning: Any = pl_module.tuning
        self._before = tuning.processed

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: list[Batch], batch_idx: int
    ) -> None:
        tuning: Any = pl_module.tuning
        real, total, trained = tuning.processed.since(self._before)
        # trained tokens are of all ranks already; a share of them makes the sum over ranks right
        seconds = time.perf_counter() - self._began
        self.meter.add(real=real, total=total, trained=trained / trainer.world_size, seconds=seconds)
        if trainer.global_step % self.every_n_steps == 0:
            pl_module.log_dict(self._values(trainer), batch_size=1)
            self.meter = TokenMeter()
        self._ended = time.perf_counter()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._ended = None

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        self._ended = None

    def pause(self, seconds: float) -> None:
        """Time since the last step began or ended that was spent on something else."""
        self._began += seconds
        if self._ended is not None:
            self._ended += seconds

    def _values(self, trainer: pl.Trainer) -> dict[str, float]:
        mine = self.meter
        counts = torch.tensor([mine.real, mine.total, mine.trained, mine.seconds], dtype=torch.float64)
        real, total, trained, seconds = sum_over_ranks(trainer.strategy, counts).tolist()
        meter = TokenMeter(real=real, total=total, trained=trained, seconds=seconds / trainer.world_size)
        values = {
            "train/tokens_per_second": meter.tokens_per_second,
            "train/trained_tokens_per_second": meter.trained_tokens_per_second,
            "train/padding_fraction": meter.padding_fraction,
        }
        if self.peak_tflops is not None and self.flops is not None:
            peak = self.peak_tflops * trainer.world_size
            values["train/mfu"] = meter.mfu(self.flops, peak)
            if self.flops.checkpointed:
                values["train/hfu"] = meter.hfu(self.flops, peak)
        return values


@contextmanager
def no_training_time(trainer: pl.Trainer) -> Iterator[None]:
    """What is done in here, between steps, is left out of `Throughput`, whichever of the callbacks comes first."""
    began = time.perf_counter()
    try:
        yield
    finally:
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Throughput):
                callback.pause(time.perf_counter() - began)
