"""What every training run records for its result, whatever callbacks the user chose."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytorch_lightning as pl
import torch

from kinnari.strategies.microbatches import sum_over_ranks
from kinnari.strategies.optimizer_step import StepTotals
from kinnari.strategies.throughput import TokenMeter
from kinnari.tasks.interruption import StopRequest
from kinnari.text.batches import Batch


class RunRecorder(pl.Callback):
    """Loss curve, token counts, validation losses and answers; kept in the checkpoint, so a resumed run reports all of it.

    Args:
        answer: () -> answers of the model to fixed prompts, called on all ranks before and after training; None for none.
    """

    _KEPT: tuple[str, ...] = ("loss_curve", "loss_before", "answers_before", "_validated_step")

    def __init__(self, answer: Callable[[], list[str]] | None) -> None:
        self.answer = answer
        self.meter = TokenMeter()
        self.loss_curve: list[float] = []
        self.loss_before: float | None = None
        self.answers_before: list[str] = []
        self.answers_after: list[str] = []
        self.validation: StepTotals | None = None  # stays None where nothing is held out, and until something was trained
        self.stop = StopRequest()
        self.interrupted = False
        self._began = 0.0
        self._validated_step = -1

    def on_sanity_check_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        # A resumed run has it from its checkpoint; without held-out records there is none.
        if self.loss_before is None and module.tuning.validation is not None:
            self.loss_before = module.tuning.validation.loss

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if self.answer is not None and not self.answers_before:
            self.answers_before = self.answer()

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: list[Batch], index: int) -> None:
        self._began, self._before = time.perf_counter(), module.tuning.processed

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: list[Batch], index: int) -> None:
        # One small collective a step: token counts of all ranks, and whether any of them was asked to stop. A signal may reach
        # the ranks in different steps; they must stop after the same one.
        tuning: Any = module.tuning
        real, total, trained = tuning.processed.since(self._before)
        counts = torch.tensor([real, total, float(self.stop.made)], dtype=torch.float64)
        real, total, stop = sum_over_ranks(trainer.strategy, counts).tolist()
        seconds = time.perf_counter() - self._began
        self.meter.add(real=int(real), total=int(total), trained=trained, seconds=seconds)
        self.loss_curve += self.losses_of(module)
        if stop:
            self.interrupted = True
            trainer.should_stop = True

    def losses_of(self, module: pl.LightningModule) -> list[float]:
        """Losses of the optimizer steps of a training item."""
        tuning: Any = module.tuning
        return [tuning.last.loss]

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.sanity_checking and not trainer.global_step:
            return  # of the model as it was: a run that is interrupted now has nothing to report from after
        self.validation = module.tuning.validation
        self._validated_step = trainer.global_step

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if not self.interrupted and self._validated_step != trainer.global_step:
            validate_now(trainer)
        if self.answer is not None and not self.interrupted:
            self.answers_after = self.answer()

    def state_dict(self) -> dict[str, Any]:
        state = {key: vars(self)[key] for key in self._KEPT}
        return state | {"meter": self.meter.state_dict(), "validation": self.validation and asdict(self.validation)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.meter.load_state_dict(state["meter"])
        self.validation = StepTotals(**state["validation"]) if state["validation"] else None
        vars(self).update({key: state[key] for key in self._KEPT})


def validate_now(trainer: pl.Trainer) -> None:
    """The validation loop within `fit`, when the last step is none of those after which Lightning validates.

    `trainer.validate` after `fit` would set the strategy up a second time, and shard or partition the model again.
    """
    loop = trainer.fit_loop.epoch_loop.val_loop
    trainer.validating = True
    loop.run()
    trainer.training = True
