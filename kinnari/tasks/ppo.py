"""task=ppo: improve a model by rewards of its own answers.

output_dir/rollouts.jsonl    every sampled answer: iteration, prompt, answer, score, reward, KL
           samples in result.json: held-out prompts answered greedily before and after
           adapter/, merged/: as task=sft writes them
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from hydra.utils import get_class
from omegaconf import DictConfig

from kinnari.generation.sampler import answer_end
from kinnari.rollouts.settings import PPOSettings
from kinnari.strategies.parallel import cluster_environment
from kinnari.strategies.tuning import trainable_parameters
from kinnari.tasks import build
from kinnari.tasks.ppo_recorder import PPORecorder
from kinnari.tasks.rewards import reward_function
from kinnari.tasks.training import build_iterating_trainer, export_trained, fit
from kinnari.tasks.training import speed as speed_of

log = logging.getLogger(__name__)

PROBED = 8  # held-out conversations on which the merge is compared


def ppo(cfg: DictConfig) -> dict[str, Any]:
    """Train, compare held-out answers before and after, export; returns what goes into result.json.

    Raises:
        ConfigError: data, weights or reward cannot be used.
        RunStopped: a reward is no number or raised, the loss stayed non-finite, or a checkpoint could not be written.
    """
    parts, tokenizer = build.parts(cfg), build.tokenizer(cfg)
    build.find_weights(cfg)
    settings = PPOSettings(**{k: v for k, v in build.plain(cfg.ppo).items() if k in PPOSettings.__dataclass_fields__})
    iterations, rank = int(cfg.ppo.iterations), cluster_environment().global_rank()
    room = settings.response_lengths[1] if parts.spec.architecture == "causal" else 0  # an encoder-decoder answers in a row of its own
    options = {"num_rollouts": settings.num_rollouts, "iterations": iterations, "held_out_prompts": cfg.ppo.held_out_prompts}
    data = build.datamodule(cfg, tokenizer, rank, parts.world_size, longest_prompt=cfg.model.max_length - room, **options)
    data.setup()
    steps = settings.epochs * -(-settings.num_rollouts // cfg.batch.global_size)
    model = build.tuned_model(cfg, parts, tokenizer)
    reward = reward_function(cfg, parts, model)
    module: Any = get_class(cfg.task.module)(
        model, tokenizer, reward, settings, build.fine_tuning_settings(cfg, parts, iterations * steps), global_size=cfg.batch.global_size,
        micro_size=cfg.batch.micro_size, stop_id=answer_end(tokenizer, data.template, seq2seq=data.seq2seq),
    )  # fmt: skip
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
        **speed_of(recorder),
        "trainable_parameters": trainable,
        "total_parameters": total,
        "steps": trainer.global_step,
        "iterations": module.iteration,
        "precision": parts.precision,
    }
    export_trained(cfg, trainer, result, [c for c, _ in zip(data.held_out_conversations, range(PROBED), strict=False)], finished=finished)
    trainer.strategy.barrier()
    return result
