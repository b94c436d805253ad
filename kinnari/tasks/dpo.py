"""task=dpo: learn from preference pairs directly, from config to an adapter or a merged folder."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from hydra.utils import get_class
from omegaconf import DictConfig

from kinnari.strategies.parallel import cluster_environment
from kinnari.strategies.tuning import trainable_parameters
from kinnari.tasks import build
from kinnari.tasks.recorder import RunRecorder
from kinnari.tasks.training import build_trainer, export_trained, fit, need_decoder, planned_steps, speed

log = logging.getLogger(__name__)

PROBED = 8  # held-out conversations on which the merge is compared


def dpo(cfg: DictConfig) -> dict[str, Any]:
    """Train, validate, export; returns what goes into result.json.

    Raises:
        ConfigError: data or weights cannot be used.
        RunStopped: the loss stayed non-finite, or a checkpoint could not be written.
    """
    parts = build.parts(cfg)
    need_decoder(parts, "dpo")
    tokenizer = build.tokenizer(cfg)
    build.find_weights(cfg)
    folder = Path(cfg.output_dir)
    data = build.preference_datamodule(cfg, tokenizer, cluster_environment().global_rank(), parts.world_size, folder=folder / "data")
    data.setup()
    total_steps = planned_steps(cfg, data.plan.steps_per_epoch)
    model = build.tuned_model(cfg, parts, tokenizer)
    settings = build.fine_tuning_settings(cfg, parts, total_steps)
    module: Any = get_class(cfg.task.module)(model, settings, beta=cfg.task.beta, label_smoothing=cfg.task.label_smoothing)
    trainable, total = trainable_parameters(module)
    recorder = RunRecorder(None)
    trainer = build_trainer(cfg, parts, recorder, total_steps, data.plan.steps_per_epoch)
    log.info("%s pairs, %d steps of %d, %s parameters trained", f"{len(data.train_pairs):,}", total_steps, cfg.batch.global_size,
             f"{trainable:,}")  # fmt: skip
    finished = fit(cfg, trainer, module, data, recorder)
    held_out = module.scores_of_held_out
    result: dict[str, Any] = {
        "status": "done" if finished else "interrupted",
        **({f"val/{name}": value for name, value in held_out.metrics().items()} if held_out else {}),
        "val/loss_before": recorder.loss_before,
        **speed(recorder),
        "trainable_parameters": trainable,
        "total_parameters": total,
        "steps": trainer.global_step,
        "data": data.counts(),
        "precision": parts.precision,
    }
    export_trained(cfg, trainer, result, [pair.chosen for pair in data.held_out_pairs[:PROBED]], finished=finished)
    trainer.strategy.barrier()
    return result
