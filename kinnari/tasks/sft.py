"""task=sft: instruction-tune a model, from config to result."""

from __future__ import annotations

import logging
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig

from kinnari.generation.sampler import answer_end, chat_prompts, generate
from kinnari.strategies.parallel import cluster_environment
from kinnari.strategies.tuning import trainable_parameters
from kinnari.tasks import build
from kinnari.tasks.memory_check import before_training
from kinnari.tasks.preflight import preflight
from kinnari.tasks.recorder import RunRecorder
from kinnari.tasks.report import print_report
from kinnari.tasks.training import benchmark_scores, build_trainer, curve_and_speed, export_trained, fit, planned_steps
from kinnari.text.conversation import Conversation

log = logging.getLogger(__name__)

PROBED = 4  # held-out conversations on which the merged model is compared with the trained one


def sft(cfg: DictConfig) -> dict[str, Any]:
    """Fine-tune, validate, export; returns what goes into result.json.

    Raises:
        ConfigError: data or weights cannot be used.
        RunStopped: the loss stayed non-finite, a checkpoint could not be written, or the merged model is not the trained one.
    """
    parts = build.parts(cfg)
    tokenizer = build.tokenizer(cfg)
    build.find_weights(cfg)
    data = build.datamodule(cfg, tokenizer, cluster_environment().global_rank(), parts.world_size)
    data.setup()
    checked = preflight(data, cfg.preflight.records, cfg.seed, data.folder / "preflight.html") if data.rank == 0 else None
    if data.rank == 0:
        before_training(cfg, data.plan)
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
    finished = fit(cfg, trainer, module, data, recorder)
    result: dict[str, Any] = {
        "status": "done" if finished else "interrupted",
        # what callbacks measured in the last validation, such as val/rougeL
        **{name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")},
        **benchmark_scores(trainer),
        **curve_and_speed(recorder),
        "trainable_parameters": trainable,
        "total_parameters": total,
        "steps": trainer.global_step,
        "data": data.counts() | {"cut": data.train_records.num_cut + data.held_out_records.num_cut},
        "preflight": checked and vars(checked),
        "precision": parts.precision,
    }
    export_trained(cfg, trainer, result, [c for c, _ in zip(data.held_out_conversations, range(PROBED), strict=False)], finished=finished)
    if finished and trainer.is_global_zero:
        result["samples"] = samples(cfg, data, recorder)
        print_report(result)
    trainer.strategy.barrier()
    return result


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


def samples(cfg: DictConfig, data: pl.LightningDataModule, recorder: RunRecorder) -> list[dict[str, str]]:
    """Question, reference and the answers before and after, side by side."""
    if not recorder.answers_after:
        return []
    rows = zip(sampled(cfg, data), recorder.answers_before, recorder.answers_after, strict=True)
    return [{"question": c.prompt()[-1].content, "reference": c.reference(), "before": before, "after": after} for c, before, after in rows]
