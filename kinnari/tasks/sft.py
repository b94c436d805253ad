"""task=sft: instruction-tune a model, from config to result."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from pytorch_lightning.callbacks import ModelCheckpoint

from kinnari.errors import ConfigError
from kinnari.generation.sampler import answer_end, chat_prompts, generate
from kinnari.strategies.checkpoint_io import checkpoint_step, is_intact, latest_intact
from kinnari.strategies.parallel import cluster_environment
from kinnari.strategies.throughput import peak_memory_gib
from kinnari.strategies.tuning import trainable_parameters
from kinnari.tasks import build
from kinnari.tasks.export import write_folders
from kinnari.tasks.interruption import leave_signals_to_us
from kinnari.tasks.latest_checkpoints import LatestCheckpoints, checkpoint_name
from kinnari.tasks.preflight import preflight
from kinnari.tasks.recorder import RunRecorder
from kinnari.tasks.report import print_report
from kinnari.tasks.result import thin
from kinnari.text.conversation import Conversation

log = logging.getLogger(__name__)


def sft(cfg: DictConfig) -> dict[str, Any]:
    """Fine-tune, validate, export; returns what goes into result.json.

    Raises:
        ConfigError: data or weights cannot be used.
        RunStopped: the loss stayed non-finite, or a checkpoint could not be written.
    """
    parts = build.parts(cfg)
    tokenizer = build.tokenizer(cfg)
    data = build.datamodule(cfg, tokenizer, cluster_environment().global_rank(), parts.world_size)
    data.setup()
    checked = preflight(data, cfg.preflight.records, cfg.seed, data.folder / "preflight.html") if data.rank == 0 else None
    total_steps = planned_steps(cfg, data.plan.steps_per_epoch)
    model = build.tuned_model(cfg, parts, tokenizer)
    trainable, total = trainable_parameters(model)
    module = build.lightning_module(cfg, parts, model, build.fine_tuning_settings(cfg, parts, total_steps))
    recorder = RunRecorder(answerer(cfg, parts, data, module) if cfg.task.samples else None)
    trainer = build_trainer(cfg, parts, recorder, total_steps, data.plan.steps_per_epoch)
    log.info(
        "%s records, %d steps of %d, %s parameters trained",
        f"{len(data.train_records):,}",
        total_steps,
        cfg.batch.global_size,
        f"{trainable:,}",
    )
    resume_from = checkpoint_to_resume(cfg)
    if trainer.is_global_zero:
        clear_way(checkpoint_folder(cfg), None if resume_from is None else checkpoint_step(resume_from))
    with recorder.stop:
        trainer.fit(module, datamodule=data, ckpt_path=resume_from, weights_only=True)
        save_latest(cfg, trainer)
    finished = not recorder.interrupted
    result = {
        "status": "done" if finished else "interrupted",
        **curve_and_speed(recorder),
        "trainable_parameters": trainable,
        "total_parameters": total,
        "steps": trainer.global_step,
        "data": data.counts() | {"cut": data.train_records.num_cut + data.held_out_records.num_cut},
        "preflight": checked and vars(checked),
    }
    state = trainer.strategy.lightning_module_state_dict()
    if finished and trainer.is_global_zero:
        probe = torch.tensor([data.train_records[0][0][:64].tolist()])
        result |= write_folders(cfg, parts, tokenizer, state, Path(cfg.output_dir), merged=cfg.task.export_merged, probe=probe)
        result["samples"] = samples(cfg, data, recorder)
        print_report(result)
    trainer.strategy.barrier()
    return result


def planned_steps(cfg: DictConfig, steps_per_epoch: int) -> int:
    """Optimizer steps of the whole run."""
    if cfg.trainer.max_steps is not None:
        return int(cfg.trainer.max_steps)
    return int(cfg.trainer.max_epochs) * steps_per_epoch


def build_trainer(cfg: DictConfig, parts: build.Parts, recorder: RunRecorder, total_steps: int, steps_per_epoch: int) -> pl.Trainer:
    """The Lightning trainer: one dataloader item is one optimizer step, so it accumulates nothing itself."""
    torch.set_float32_matmul_precision("high" if cfg.hw.tf32 else "highest")
    interval = min(cfg.trainer.validate_every_n_steps or steps_per_epoch, total_steps)
    trainer = pl.Trainer(
        accelerator=cfg.hw.accelerator,
        devices=cfg.hw.devices,
        num_nodes=cfg.hw.num_nodes,
        strategy=build.strategy(cfg, parts),
        max_steps=total_steps,
        max_epochs=-1,
        val_check_interval=interval,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=-1,  # the whole held-out set, before the first step: the loss before training
        log_every_n_steps=cfg.trainer.log_every_n_steps,
        logger=build.loggers(cfg),
        callbacks=[recorder, *build.callbacks(cfg), *checkpoints(cfg, interval, total_steps)],
        use_distributed_sampler=False,  # the batch plan knows the ranks
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=cfg.output_dir,
    )
    return leave_signals_to_us(trainer)


def checkpoint_folder(cfg: DictConfig) -> Path:
    """Where the checkpoints of a run lie."""
    return Path(cfg.output_dir) / "checkpoints"


def checkpoints(cfg: DictConfig, interval: int, total_steps: int) -> list[pl.Callback]:
    """The best checkpoint where something is held out, and the latest few, which hold what the best came to."""
    folder = checkpoint_folder(cfg)
    latest = LatestCheckpoints(folder, cfg.checkpoint.every_n_steps, cfg.checkpoint.keep, interval, total_steps)
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


def answerer(cfg: DictConfig, parts: build.Parts, data: pl.LightningDataModule, module: pl.LightningModule) -> Any:
    """() -> the model's answers to the sample prompts; every rank must call it."""
    asked = [c.prompt() for c in sampled(cfg, data)]
    prompts = chat_prompts(data.tokenizer, data.template, asked, seq2seq=data.seq2seq)
    settings = build.generation_settings(cfg)
    stop = answer_end(data.tokenizer, data.template, seq2seq=data.seq2seq)

    def answer() -> list[str]:
        with module.trainer.strategy.precision_plugin.forward_context():
            answers = generate(module.model, data.tokenizer, prompts, settings, seed=cfg.seed, synced=parts.sharded, stop_id=stop)
        return [a.text for a in answers]

    return answer


def sampled(cfg: DictConfig, data: pl.LightningDataModule) -> list[Conversation]:
    """The held-out conversations whose questions are answered before and after, each question once."""
    by_question = {c.question: c for c in reversed(data.held_out_conversations)}
    return list(reversed(by_question.values()))[: cfg.task.samples]


def curve_and_speed(recorder: RunRecorder) -> dict[str, Any]:
    """The measurements of the training loop."""
    before, after = recorder.loss_before, recorder.validation
    return {
        "val/loss": after and after.loss,
        "val/loss_before": before,
        "val/loss_after": after and after.loss,
        "val/perplexity_before": perplexity_of(before),
        "val/perplexity_after": perplexity_of(after and after.loss),
        "val/token_accuracy": after and after.token_accuracy,
        "train/tokens_per_second": recorder.meter.tokens_per_second,
        "train/trained_tokens_per_second": recorder.meter.trained_tokens_per_second,
        "padding_fraction": recorder.meter.padding_fraction,
        "peak_memory_gib": peak_memory_gib(torch.device("cuda" if torch.cuda.is_available() else "cpu")),
        "loss_curve": thin(recorder.loss_curve),
    }


def perplexity_of(loss: float | None) -> float | None:
    """exp of a mean loss in nats; None where there is no loss."""
    return None if loss is None else float(torch.tensor(loss).exp())


def samples(cfg: DictConfig, data: pl.LightningDataModule, recorder: RunRecorder) -> list[dict[str, str]]:
    """Question, reference and the answers before and after, side by side."""
    if not recorder.answers_after:
        return []
    rows = zip(sampled(cfg, data), recorder.answers_before, recorder.answers_after, strict=True)
    return [{"question": c.prompt()[-1].content, "reference": c.reference(), "before": before, "after": after} for c, before, after in rows]
