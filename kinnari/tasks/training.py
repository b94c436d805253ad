"""What every training task does around its module: how long it runs, the trainer, its checkpoints, what it measured."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from pytorch_lightning.callbacks import ModelCheckpoint

from kinnari.errors import ConfigError, ExportRejected
from kinnari.strategies.checkpoint_io import checkpoint_step, is_intact, latest_intact
from kinnari.strategies.throughput import peak_memory_gib
from kinnari.tasks import build
from kinnari.tasks.export import write_folders
from kinnari.tasks.interruption import leave_signals_to_us
from kinnari.tasks.latest_checkpoints import LatestCheckpoints, LatestIterations, checkpoint_name
from kinnari.tasks.model_rules import ranks_per_node
from kinnari.tasks.recorder import RunRecorder
from kinnari.tasks.result import thin
from kinnari.text.conversation import Conversation

log = logging.getLogger(__name__)


def fit(cfg: DictConfig, trainer: pl.Trainer, module: pl.LightningModule, data: pl.LightningDataModule, recorder: RunRecorder) -> bool:
    """Train from the beginning or from `checkpoint.resume`; returns whether the run reached its end."""
    resume_from = checkpoint_to_resume(cfg)
    if trainer.is_global_zero:
        clear_way(checkpoint_folder(cfg), None if resume_from is None else checkpoint_step(resume_from))
    with recorder.stop:
        trainer.fit(module, datamodule=data, ckpt_path=resume_from, weights_only=True)
        save_latest(cfg, trainer)
    return not recorder.interrupted


def need_decoder(parts: build.Parts, task: str) -> None:
    """Raises ConfigError for an encoder-decoder, before anything slow."""
    if parts.spec.architecture == "seq2seq":
        raise ConfigError(
            f"task={task} reads a conversation from end to end, and model={parts.spec.name} is an encoder-decoder, which splits it in two. "
            "Choose a decoder; task=sft, task=reward and task=ppo train encoder-decoders."
        )


def planned_steps(cfg: DictConfig, steps_per_epoch: int) -> int:
    """Optimizer steps of the whole run."""
    if cfg.trainer.max_steps is not None:
        return int(cfg.trainer.max_steps)
    return int(cfg.trainer.max_epochs) * steps_per_epoch


def build_trainer(cfg: DictConfig, parts: build.Parts, recorder: RunRecorder, total_steps: int, steps_per_epoch: int) -> pl.Trainer:
    """The Lightning trainer: one dataloader item is one optimizer step, so it accumulates nothing itself."""
    interval = min(cfg.trainer.validate_every_n_steps or steps_per_epoch, total_steps)
    latest = LatestCheckpoints(checkpoint_folder(cfg), cfg.checkpoint.every_n_steps, cfg.checkpoint.keep, interval, total_steps)
    return _trainer(cfg, parts, recorder, latest, interval, max_steps=total_steps, max_epochs=-1)


def build_iterating_trainer(cfg: DictConfig, parts: build.Parts, recorder: RunRecorder, iterations: int, steps: int) -> pl.Trainer:
    """The trainer of a module whose items are iterations of up to `steps` optimizer steps; one epoch is the whole run."""
    # counted in optimizer steps by the user, done at the end of an iteration
    interval = min(max(1, (cfg.trainer.validate_every_n_steps or iterations * steps) // steps), iterations)
    every = max(1, cfg.checkpoint.every_n_steps // steps)
    latest = LatestIterations(checkpoint_folder(cfg), every, cfg.checkpoint.keep, interval, iterations)
    return _trainer(cfg, parts, recorder, latest, interval, max_steps=-1, max_epochs=1)


def _trainer(
    cfg: DictConfig, parts: build.Parts, recorder: RunRecorder, latest: LatestCheckpoints, interval: int, **length: Any
) -> pl.Trainer:
    torch.set_float32_matmul_precision("high" if cfg.hw.tf32 else "highest")
    trainer = pl.Trainer(
        accelerator=cfg.hw.accelerator,
        devices=ranks_per_node(cfg),
        num_nodes=cfg.hw.num_nodes,
        strategy=build.strategy(cfg, parts),
        **length,
        val_check_interval=interval,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=-1,  # the whole held-out set, before the first step: the loss before training
        log_every_n_steps=cfg.trainer.log_every_n_steps,
        logger=build.loggers(cfg),
        callbacks=[recorder, *build.callbacks(cfg), *checkpoints(cfg, latest)],
        use_distributed_sampler=False,  # the batch plan knows the ranks
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=cfg.output_dir,
    )
    return leave_signals_to_us(trainer)


def checkpoint_folder(cfg: DictConfig) -> Path:
    """Where the checkpoints of a run lie."""
    return Path(cfg.output_dir) / "checkpoints"


def checkpoints(cfg: DictConfig, latest: LatestCheckpoints) -> list[pl.Callback]:
    """The best checkpoint where something is held out, and the latest few, which hold what the best came to."""
    folder = checkpoint_folder(cfg)
    best = ModelCheckpoint(
        dirpath=folder / "best",
        filename="step_{step:08d}",
        auto_insert_metric_name=False,
        monitor="val/loss",
        mode="min",
        save_top_k=1,
        enable_version_counter=False,
    )
    return [best, latest]


def checkpoint_to_resume(cfg: DictConfig) -> str | None:
    """The checkpoint that `checkpoint.resume` means, or None to start from the beginning.

    Raises:
        ConfigError: if a named file does not exist.
    """
    resume = cfg.checkpoint.resume
    if resume is None:
        return None
    if resume != "auto":
        if not Path(resume).is_file():
            raise ConfigError(f"checkpoint.resume={resume} is not a file; give a .ckpt file, or auto for the latest in output_dir.")
        if not is_intact(resume):
            raise ConfigError(f"checkpoint.resume={resume} is torn (incomplete or damaged), or no checkpoint; give the one before it.")
        return str(resume)
    found = latest_intact(checkpoint_folder(cfg))
    log.info("resuming from %s", found) if found else log.info("no checkpoint in %s: starting anew", checkpoint_folder(cfg))
    return None if found is None else str(found)


def clear_way(folder: Path, resumed_step: int | None) -> None:
    """Set aside checkpoints of an earlier run that are further than this one: `auto` would take the highest step for this run's.

    Files that a killed process left half written are removed.

    Args:
        folder: checkpoints of this run; may be missing.
        resumed_step: the step this run goes on from, None for the beginning.
    """
    for half_written in folder.glob(".*.ckpt.*.tmp"):
        half_written.unlink()
    if resumed_step is None:
        foreign = [path for path in (*folder.glob("*.ckpt"), folder / "best") if path.exists()]
    else:
        foreign = [path for path in folder.glob("*.ckpt") if (checkpoint_step(path) or 0) > resumed_step]
    if not foreign:
        return
    aside = next(place for i in itertools.count(1) if not (place := folder.with_name(f"{folder.name}_before_{i}")).exists())
    aside.mkdir()
    for path in foreign:
        path.rename(aside / path.name)
    log.warning("checkpoints of an earlier run were in %s; they are now in %s", folder, aside)


def save_latest(cfg: DictConfig, trainer: pl.Trainer) -> None:
    """A checkpoint of the step the run stopped at, unless there is one."""
    path = checkpoint_folder(cfg) / checkpoint_name(trainer.global_step)
    if not trainer.strategy.broadcast(path.is_file()):
        trainer.save_checkpoint(path)


def export_trained(
    cfg: DictConfig, trainer: pl.Trainer, result: dict[str, Any], conversations: Sequence[Conversation], *, finished: bool
) -> None:
    """Add the folders of a finished run to its `result`; every rank calls it, the first writes.

    Raises:
        ExportRejected: the merge does not compute what was trained; its `measured` holds `result` as well.
    """
    state = trainer.strategy.lightning_module_state_dict()
    if finished and trainer.is_global_zero:
        try:
            result |= write_folders(cfg, state, result, conversations)
        except ExportRejected as problem:
            problem.measured = result | problem.measured  # the training itself is done and measured
            raise


def curve_and_speed(recorder: RunRecorder) -> dict[str, Any]:
    """The measurements of fine-tuning: the held-out loss before and after, and what `speed` has."""
    before, after = recorder.loss_before, recorder.validation
    return {
        "val/loss": None if after is None else after.loss,
        "val/loss_before": before,
        "val/loss_after": None if after is None else after.loss,
        "val/perplexity_before": perplexity_of(before),
        "val/perplexity_after": None if after is None else perplexity_of(after.loss),
        "val/token_accuracy": None if after is None else after.token_accuracy,
        **speed(recorder),
    }


def speed(recorder: RunRecorder) -> dict[str, Any]:
    """The measurements of any training loop."""
    return {
        "train/tokens_per_second": recorder.meter.tokens_per_second,
        "train/trained_tokens_per_second": recorder.meter.trained_tokens_per_second,
        "padding_fraction": recorder.meter.padding_fraction,
        "peak_memory_gib": peak_memory_gib(torch.device("cuda" if torch.cuda.is_available() else "cpu")),
        "loss_curve": thin(recorder.loss_curve),
    }


def benchmark_scores(trainer: pl.Trainer) -> dict[str, float]:
    """What callbacks=benchmarks measured last: benchmark/NAME/accuracy and its kin."""
    return {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("benchmark/")}


def perplexity_of(loss: float | None) -> float | None:
    """exp of a mean loss in nats; None where there is no loss."""
    return None if loss is None else float(torch.tensor(loss).exp())
