"""Watches PPO for what makes it fail, says why and what to change, and ends the run where that is wanted."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger

from callbacks.rollout_samples import settings_of
from kinnari.errors import RunStopped
from kinnari.rollouts.watchdog_rules import WatchdogLimits, check_names
from kinnari.rollouts.watchdogs import RunWatch, measured

log = logging.getLogger(__name__)

LOGGED = ("score_std", "distinct", "same_answer")  # beside what PPO itself logs


class Watchdogs(pl.Callback):
    """Asks the rules of `kinnari.rollouts.watchdog_rules` after every iteration of PPO.

    A fault is told once when it begins: as a warning, as text in TensorBoard, and in `findings` of the module, which task=ppo writes to
    result.json. All of it is kept in checkpoints. Beside another module than PPO's they sleep: the stages of a chain share callbacks.

    Args:
        stop_on: names of rules that end the run.
        limits: from where on a number is a fault; a mapping holds the fields of `WatchdogLimits`.

    Raises:
        ConfigError: an unknown rule or an impossible limit.
        RunStopped: a rule of `stop_on` has found something; on all ranks in the same iteration.
    """

    def __init__(self, stop_on: Sequence[str] = (), limits: WatchdogLimits | Mapping[str, Any] | None = None) -> None:
        check_names(stop_on)
        self.stop_on, self._awake = tuple(stop_on), False
        self.watch = RunWatch(limits if isinstance(limits, WatchdogLimits) else WatchdogLimits(**(limits or {})))

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        settings = settings_of(pl_module)
        self._awake = settings is not None
        self.watch.ppo, self.watch.precision = settings or self.watch.ppo, precision_of(trainer)

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if self._awake:
            pl_module.findings = self.watch.findings

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if not self._awake:
            return
        numbers = measured(pl_module.metrics, pl_module.rollouts)
        pl_module.log_dict({f"ppo/{name}": numbers[name] for name in LOGGED}, batch_size=1)
        begun = self.watch.look(pl_module.iteration - 1, numbers)
        if trainer.is_global_zero:
            for finding in begun:
                log.warning("iteration %d, %s: %s", finding["iteration"], finding["name"], finding["message"])
                for board in (logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)):
                    board.experiment.add_text(f"watchdogs/{finding['name']}", finding["message"], trainer.global_step)
        fatal = [finding for finding in begun if finding["name"] in self.stop_on]
        if fatal:
            told = " ".join(f"{finding['name']}: {finding['message']}" for finding in fatal)
            raise RunStopped(
                f"watchdogs.stop_on ends the run in iteration {fatal[0]['iteration']}; the latest checkpoint is kept. {told}",
                watchdogs=list(self.watch.findings),
            )

    def state_dict(self) -> dict[str, Any]:
        return self.watch.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.watch.load_state_dict(state_dict)


def precision_of(trainer: pl.Trainer) -> str:
    """The trainer's precision; float32 whose products a GPU computes in TF32 counts as 16-mixed, whose mantissa it shares."""
    precision = str(trainer.precision)
    in_tf32 = trainer.strategy.root_device.type == "cuda" and torch.get_float32_matmul_precision() != "highest"
    return "16-mixed" if in_tf32 and precision.startswith("32") else precision
