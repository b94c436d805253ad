"""Where training stands: a bar on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
from rich.progress import Progress as RichProgress

from kinnari.text.batches import Batch


class Progress(pl.Callback):
    """Step, loss, trained tokens per second over all ranks, and the time left; on rank 0 alone.

    step 40/120, loss 1.9312, 812 trained tokens/s, 0:01:21 left

    Takes the place of Lightning's own bar: give the Trainer `enable_progress_bar=False` (Lightning 2.6 refuses that beside
    a subclass of its ProgressBar, so this is none).

    Args:
        every_s: seconds between plain lines where the output is no terminal.
        console: where to write; stderr by default, so that a task's own output stays clean.
    """

    def __init__(self, every_s: float = 10.0, console: Console | None = None) -> None:
        self.every_s = every_s
        self.console = Console(stderr=True) if console is None else console
        self._bar: RichProgress | None = None
        self._task = TaskID(0)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        tuning: Any = pl_module.tuning
        self._total = int(tuning.settings.total_steps or trainer.estimated_stepping_batches)
        self._first = self._steps = trainer.global_step
        self._began = self._last_line = time.monotonic()
        self._rate: float | None = None
        if trainer.is_global_zero and self.console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[state]}"))
            self._bar = RichProgress(*columns, console=self.console)
            self._task = self._bar.add_task("training", total=self._total, completed=self._first, state="")
            self._bar.start()

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: list[Batch], batch_idx: int) -> None:
        tuning: Any = pl_module.tuning
        self._step_began, self._before = time.monotonic(), tuning.processed.trained

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: list[Batch], batch_idx: int
    ) -> None:
        now, self._steps = time.monotonic(), trainer.global_step
        tuning: Any = pl_module.tuning
        rate = (tuning.processed.trained - self._before) / max(now - self._step_began, 1e-9)
        # A moving average over about ten steps: single steps differ in length.
        self._rate = rate if self._rate is None else 0.9 * self._rate + 0.1 * rate
        if not trainer.is_global_zero:
            return
        state = f"loss {tuning.last.loss:.4f}, {self._rate:,.0f} {tuning.unit}/s, {self._left(now)} left"
        if self._bar is not None:
            self._bar.update(self._task, completed=self._steps, state=state)
        elif now - self._last_line >= self.every_s or self._steps == self._total:
            self._last_line = now
            self.console.print(f"step {self._steps}/{self._total}, {state}", highlight=False, soft_wrap=True)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._bar is not None:
            self._bar.update(self._task, description="validating")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._bar is not None:
            self._bar.update(self._task, description="training")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._stop()

    def _left(self, now: float) -> timedelta:
        """Time to the last step at the pace since the start or the resume, validation and checkpoints included."""
        done = max(1, self._steps - self._first)
        return timedelta(seconds=round((now - self._began) / done * max(0, self._total - self._steps)))

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
