"""Benchmarks while the model learns."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from callbacks.throughput import no_training_time
from kinnari.evaluation.benchmarks import Benchmark
from kinnari.evaluation.examinee import Examination, Examinee, examination
from kinnari.evaluation.likelihood.encoders import positions_of
from kinnari.evaluation.outcome import Outcome
from kinnari.models.head import base_model_of

log = logging.getLogger(__name__)

LOGGED = ("stderr", "n", "f1")


class BenchmarkScores(pl.Callback):
    """Logs benchmark/NAME/accuracy (of reading: /exact_match, /f1), /stderr and /n, and writes them to `benchmarks.jsonl`.

    The questions are the same in every round. The numbers are those of the weights, in the precision of training; nothing is cached.
    Where weights are sharded all ranks score together, else each a part. A module that scores texts instead of writing them, as
    that of a reward model does, is left alone.

    Args:
        benchmarks: what is asked; each limits and draws its own questions.
        folder: receives benchmarks.jsonl, a line per round; a resumed run appends.
        every_n_steps: optimizer steps between two rounds; a training item of several steps is scored at its end.
        at_start: before the first step too, unless the run is resumed.
        at_end: after the last step too.
        chat: ask through the template of training.
        calibration: none | prior.
        token_budget: padded tokens of one forward; None for what suits the device.
        max_length: tokens of the longest text; None for what the model was made for.
        seed: of the bootstrap.
    """

    def __init__(
        self,
        benchmarks: Sequence[Benchmark],
        folder: str | Path,
        every_n_steps: int = 100,
        *,
        at_start: bool = True,
        at_end: bool = True,
        chat: bool = False,
        calibration: str = "none",
        token_budget: int | None = None,
        max_length: int | None = None,
        seed: int = 42,
    ) -> None:
        self.benchmarks, self.folder, self.every_n_steps = tuple(benchmarks), Path(folder), every_n_steps
        self.at_start, self.at_end, self.chat, self.calibration = at_start, at_end, chat, calibration
        self.token_budget, self.max_length, self.seed = token_budget, max_length, seed
        self.exams: list[Examination] = []
        self._seen = self._scored = -1

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Read the files, so that what is wrong with them is told before the first step."""
        if "reward_head" in dict(pl_module.named_children()):
            log.info("a reward model writes no text, so it is asked no benchmark")
            return
        tokenizer = trainer.datamodule.tokenizer  # type: ignore[attr-defined]
        model: Any = pl_module.model
        self._most = positions_of(base_model_of(model).config, tokenizer, self.max_length)
        self.exams = [examination(benchmark, tokenizer, self._most) for benchmark in self.benchmarks]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._seen = trainer.global_step
        if self.at_start and trainer.global_step == 0:
            self.score(trainer, pl_module)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        before, self._seen = self._seen, trainer.global_step
        if before // self.every_n_steps < self._seen // self.every_n_steps:
            self.score(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.at_end and not self._interrupted(trainer):
            self.score(trainer, pl_module)

    def score(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """One round, unless these very weights have had theirs. Collective."""
        if not self.exams or self._scored == trainer.global_step:
            return
        self._scored = trainer.global_step
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        model: Any = pl_module.model
        began = time.monotonic()
        with no_training_time(trainer), trainer.strategy.precision_plugin.forward_context():
            examinee = Examinee(
                model=model,
                tokenizer=data.tokenizer,
                template=data.template if self.chat else None,
                token_budget=self.token_budget,
                max_length=self._most,
                calibration=self.calibration,
                seed=self.seed,
            )
            outcomes = [examinee.sit(exam) for exam in self.exams]
            self._tell(trainer, outcomes, time.monotonic() - began)

    def _tell(self, trainer: pl.Trainer, outcomes: Sequence[Outcome], seconds: float) -> None:
        values = named(outcomes)
        # where EarlyStopping and ModelCheckpoint look; `log` would wait for the next of Lightning's logging steps
        trainer.callback_metrics.update({name: torch.tensor(value) for name, value in values.items()})
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.global_step)
        if trainer.is_global_zero:
            log.info("step %d: %s (%.1f s)", trainer.global_step, "; ".join(map(shown, outcomes)), seconds)
            self.folder.mkdir(parents=True, exist_ok=True)
            row = {"step": trainer.global_step, "seconds": round(seconds, 3)} | values
            with (self.folder / "benchmarks.jsonl").open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(row) + "\n")

    def _interrupted(self, trainer: pl.Trainer) -> bool:
        """Somebody who asks a run to stop does not wait for scores: they are those of a checkpoint, which task=evaluate can score."""
        return any(getattr(callback, "interrupted", False) for callback in trainer.callbacks)  # type: ignore[attr-defined]


def named(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """benchmark/NAME/accuracy and its kin, without what unlabelled files leave unknown."""
    return {
        f"benchmark/{outcome.name}/{metric}": float(value)
        for outcome in outcomes
        for metric, value in outcome.numbers.items()
        if (metric == outcome.metric or metric in LOGGED) and math.isfinite(value)
    }


def shown(outcome: Outcome) -> str:
    """tnews 31.0 % ± 2.1"""
    value, error = outcome.numbers[outcome.metric], outcome.numbers["stderr"]
    return f"{outcome.name} {100 * value:.1f} % ± {100 * error:.1f}"
