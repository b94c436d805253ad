"""task=ppo: improve a model by rewards of its own answers.

output_dir/rollouts.jsonl    every sampled answer: iteration, prompt, answer, score, reward, KL
           samples in result.json: held-out prompts answered greedily before and after
           adapter/, merged/: as task=sft writes them
           ema/adapter/, ema/merged/: the moving average of the trained weights, where ppo.export_ema asks for it
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra.utils import get_class
from omegaconf import DictConfig
from torch import Tensor

from kinnari.errors import ConfigError
from kinnari.export.checked import export_model
from kinnari.generation.sampler import answer_end
from kinnari.models.backbone import blocks_of, freeze_bottom
from kinnari.rollouts.ptx import DataAnswers
from kinnari.rollouts.rewards import AskedModel
from kinnari.rollouts.settings import PPOSettings
from kinnari.strategies.microbatches import gather_objects
from kinnari.strategies.parallel import cluster_environment
from kinnari.strategies.tuning import trainable_parameters
from kinnari.tasks import build
from kinnari.tasks.export import folders
from kinnari.tasks.export import settings as export_settings
from kinnari.tasks.export_facts import measured_now
from kinnari.tasks.export_source import from_state
from kinnari.tasks.memory_check import before_training
from kinnari.tasks.ppo_recorder import PPORecorder
from kinnari.tasks.result import versions
from kinnari.tasks.rewards import check_reward, reward_function
from kinnari.tasks.training import benchmark_scores, build_iterating_trainer, export_trained, fit
from kinnari.tasks.training import speed as speed_of
from kinnari.text.conversation import Conversation

log = logging.getLogger(__name__)

PROBED = 8  # held-out conversations on which the merge is compared


def ppo(cfg: DictConfig) -> dict[str, Any]:
    """Train, compare held-out answers before and after, export; returns what goes into result.json.

    Raises:
        ConfigError: data, weights or reward cannot be used.
        RunStopped: a reward is no number or raised, the loss stayed non-finite, or a checkpoint could not be written.
    """
    parts, tokenizer = build.parts(cfg), build.tokenizer(cfg)
    check_reward(cfg)
    build.find_weights(cfg)
    settings = PPOSettings(**{k: v for k, v in build.plain(cfg.ppo).items() if k in PPOSettings.__dataclass_fields__})
    iterations = int(cfg.ppo.iterations)
    data = _prompts(cfg, parts, tokenizer, settings)
    steps = settings.epochs * -(-settings.num_rollouts // cfg.batch.global_size)
    module = _module(cfg, parts, tokenizer, settings, data, iterations * steps)
    data.follow(module)
    trainable, total = trainable_parameters(module)
    recorder = PPORecorder(Path(cfg.output_dir) / "rollouts.jsonl")
    trainer = build_iterating_trainer(cfg, parts, recorder, iterations, steps)
    log.info("%s prompts, %d iterations of %d answers, %s parameters trained", f"{len(data.prompts):,}", iterations,
             settings.num_rollouts, f"{trainable:,}")  # fmt: skip
    finished = fit(cfg, trainer, module, data, recorder)
    result: dict[str, Any] = {
        "status": "done" if finished else "interrupted",
        **recorder.result(),
        **benchmark_scores(trainer),
        **speed_of(recorder),
        "trainable_parameters": trainable,
        "total_parameters": total,
        "steps": trainer.global_step,
        "iterations": module.iteration,
        "prompts": data.prompt_counts(),
        **_asked_counts(module.reward),
        "watchdogs": module.findings,
        "precision": parts.precision,
    }
    probe = [c for c, _ in zip(data.held_out_conversations, range(PROBED), strict=False)]
    export_trained(cfg, trainer, result, probe, finished=finished)
    if finished and cfg.ppo.export_ema:
        _export_average(cfg, trainer, module.ema.state_dict(), result, probe)
    trainer.strategy.barrier()
    return result


def _asked_counts(reward: Any) -> dict[str, Any]:
    """Of ppo.reward=llm: what all ranks asked since this start, and what no number came back to; asked.csv has all. Collective."""
    if not isinstance(reward, AskedModel):
        return {}
    counts = gather_objects(reward.counts())
    return {"llm": {name: sum(part[name] for part in counts) for name in counts[0]}}


def _prompts(cfg: DictConfig, parts: build.Parts, tokenizer: Any, settings: PPOSettings) -> Any:
    """The datamodule, set up."""
    room = settings.response_lengths[1] if parts.spec.architecture == "causal" else 0  # an encoder-decoder answers in a row of its own
    data = build.datamodule(
        cfg,
        tokenizer,
        cluster_environment().global_rank(),
        parts.world_size,
        longest_prompt=cfg.model.max_length - room,
        prompts_per_iteration=settings.num_rollouts // settings.answers_per_prompt,
        iterations=int(cfg.ppo.iterations),
        held_out_prompts=cfg.ppo.held_out_prompts,
        query_tokens=build.plain(cfg.ppo.query_tokens) if cfg.ppo.query_tokens is not None else None,
    )
    data.setup()
    if data.rank == 0:
        before_training(cfg, data.plan)
    return data


def _module(cfg: DictConfig, parts: build.Parts, tokenizer: Any, settings: PPOSettings, data: Any, total_steps: int) -> Any:
    """The policy with its reward, in the module that `task.module` names."""
    model = build.tuned_model(cfg, parts, tokenizer)
    _train_the_top_alone(cfg, parts, model)
    reward = reward_function(cfg, parts, model)
    return get_class(cfg.task.module)(
        model,
        tokenizer,
        reward,
        settings,
        build.fine_tuning_settings(cfg, parts, total_steps),
        global_size=cfg.batch.global_size,
        micro_size=cfg.batch.micro_size,
        stop_id=answer_end(tokenizer, data.template, seq2seq=data.seq2seq),
        data=DataAnswers(data.train_records, data.plan),
        packing=parts.spec.packing,
    )


def _train_the_top_alone(cfg: DictConfig, parts: build.Parts, model: Any) -> None:
    """Freeze all but the upper `ppo.num_layers_unfrozen` blocks; what is frozen is the same in policy and reference."""
    wanted = cfg.ppo.num_layers_unfrozen
    if wanted is None:
        return
    blocks = len(blocks_of(model, parts.spec.block_classes).bottom_to_top)
    if wanted > blocks:
        raise ConfigError(f"ppo.num_layers_unfrozen={wanted} must be from 1 to {blocks}, the blocks of {parts.spec.name}; or null for all.")
    # the fraction between two counts of blocks, out of the reach of rounding
    fraction = max(0.0, (blocks - wanted - 0.5) / blocks)
    left = freeze_bottom(model, parts.spec.block_classes, fraction, embeddings=False)
    log.info("%d of %d blocks are trained, with what is above them", left.trainable_blocks, blocks)


def _export_average(
    cfg: DictConfig, trainer: pl.Trainer, state: Mapping[str, Tensor], result: dict[str, Any], conversations: Sequence[Conversation]
) -> None:
    """`ema/`, as the last weights are exported, and its entry in `result`; the first rank writes."""
    if not trainer.is_global_zero:
        return
    out = Path(cfg.output_dir)
    trained = from_state(cfg, state, measured_now(out, result, versions()), conversations)
    merged = cfg.task.export_merged or build.tuning(cfg).name == "full"
    made = export_model(trained, export_settings(cfg), adapter=out / "ema" / "adapter", merged=out / "ema" / "merged" if merged else None)
    result["ema"] = folders(made, out)
