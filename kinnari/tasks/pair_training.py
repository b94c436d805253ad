"""What task=reward and task=dpo have in common: pairs in, a fitted module and its measurements out."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
from omegaconf import DictConfig
from transformers import PreTrainedTokenizerBase

from kinnari.strategies.parallel import cluster_environment
from kinnari.strategies.tuning import trainable_parameters
from kinnari.tasks import build
from kinnari.tasks.memory_check import before_training
from kinnari.tasks.recorder import RunRecorder
from kinnari.tasks.training import benchmark_scores, build_trainer, fit, planned_steps, speed

log = logging.getLogger(__name__)


class PairRun(NamedTuple):
    """A run that has ended.

    Attributes:
        finished: reached its last step, instead of being asked to stop.
        result: what both tasks put into result.json.
    """

    trainer: pl.Trainer
    finished: bool
    result: dict[str, Any]


def read_pairs(cfg: DictConfig, parts: build.Parts, tokenizer: PreTrainedTokenizerBase, *, answers_alone: bool = False) -> tuple[Any, int]:
    """(the datamodule, set up; optimizer steps of the whole run).

    Raises:
        ConfigError: the data cannot be used, or the weights that will be needed are not there.
    """
    build.find_weights(cfg)
    data = build.preference_datamodule(
        cfg,
        tokenizer,
        cluster_environment().global_rank(),
        parts.world_size,
        answers_alone=answers_alone,
        folder=Path(cfg.output_dir) / "data",
    )
    data.setup()
    if data.rank == 0:
        before_training(cfg, data.plan, data.train_records)
    return data, planned_steps(cfg, data.plan.steps_per_epoch)


def train_on_pairs(cfg: DictConfig, parts: build.Parts, module: Any, data: Any, total_steps: int) -> PairRun:
    """Fit a module that has `scores_of_held_out`, and measure it.

    Raises:
        RunStopped: the loss stayed non-finite, or a checkpoint could not be written.
    """
    trainable, total = trainable_parameters(module)
    recorder = RunRecorder(None)
    trainer = build_trainer(cfg, parts, recorder, total_steps, data.plan.steps_per_epoch)
    log.info("%s pairs, %d steps of %d, %s parameters trained", f"{len(data.train_pairs):,}", total_steps, cfg.batch.global_size,
             f"{trainable:,}")  # fmt: skip
    finished = fit(cfg, trainer, module, data, recorder)
    held_out = module.scores_of_held_out
    result = {
        "status": "done" if finished else "interrupted",
        **({f"val/{name}": value for name, value in held_out.metrics().items()} if held_out else {}),
        "val/loss_before": recorder.loss_before,
        **benchmark_scores(trainer),
        **speed(recorder),
        "trainable_parameters": trainable,
        "total_parameters": total,
        "steps": trainer.global_step,
        "data": data.counts(),
        "precision": parts.precision,
    }
    return PairRun(trainer, finished, result)
