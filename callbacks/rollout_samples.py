"""A few of PPO's answers as text in TensorBoard, from the worst to the best of each iteration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import TensorBoardLogger

from callbacks.sample_answers import as_markdown
from kinnari.rollouts.rollout import Rollout
from kinnari.rollouts.settings import PPOSettings


class RolloutSamples(pl.Callback):
    """Shows answers of the first rank; without PPO or TensorBoard it does nothing, and rollouts.jsonl has every answer anyway.

    Args:
        count: answers of an iteration, spread evenly from the lowest score to the highest.
        every_n_iterations: iterations between two rounds.
    """

    def __init__(self, count: int = 4, every_n_iterations: int = 1) -> None:
        self.count, self.every_n_iterations = count, every_n_iterations

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        boards = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
        if not trainer.is_global_zero or not boards or settings_of(pl_module) is None:
            return
        if (pl_module.iteration - 1) % self.every_n_iterations:
            return
        for place, rollout in enumerate(spread(pl_module.rollouts, self.count)):
            for board in boards:
                board.experiment.add_text(f"rollouts/{place}", shown(rollout, pl_module.iteration - 1), trainer.global_step)


def settings_of(module: pl.LightningModule) -> PPOSettings | None:
    """Those of PPO; None for another module, such as that of another stage of a chain with the same callbacks."""
    settings = getattr(module, "ppo", None)
    return settings if isinstance(settings, PPOSettings) else None


def spread(rollouts: Sequence[Rollout], count: int) -> list[Rollout]:
    """At most `count`, the lowest and the highest score among them, in the order of their scores."""
    ranked = sorted(rollouts, key=lambda rollout: rollout.score)
    if len(ranked) <= count:
        return ranked
    return [ranked[round(i * (len(ranked) - 1) / max(1, count - 1))] for i in range(count)]


def shown(rollout: Rollout, iteration: int) -> str:
    """A rollout as markdown."""
    row = {
        "question": "\n".join(message.content for message in rollout.prompt.messages),
        "answer": rollout.text,
        "reference": rollout.prompt.reference,
        "finished": rollout.finished,
    }
    return f"iteration {iteration}, score {rollout.score:.4g}, reward {rollout.reward:.4g}, {len(rollout)} tokens\n\n{as_markdown(row)}"
