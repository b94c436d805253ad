"""task=reward: train a reward model on preference pairs, from config to scores.

output_dir/reward/       the model: adapter or weights, reward_head.safetensors, reward.json; `reward.path=` of task=ppo reads it
           scores.tsv    prompt, answer, score of every held-out answer
           reliability.json   confidence against the share ranked rightly
"""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hydra.utils import get_class
from omegaconf import DictConfig

from kinnari.functional.reward_metrics import PairScores
from kinnari.models.reward import RewardSettings
from kinnari.strategies.parallel import cluster_environment
from kinnari.strategies.tuning import trainable_parameters
from kinnari.tasks import build
from kinnari.tasks.recorder import RunRecorder
from kinnari.tasks.reward_folder import write_reward_folder
from kinnari.tasks.training import build_trainer, fit, need_decoder, planned_steps, speed
from kinnari.text.pairs import PairTable

log = logging.getLogger(__name__)


def reward(cfg: DictConfig) -> dict[str, Any]:
    """Train, validate, write the model; returns what goes into result.json.

    Raises:
        ConfigError: data or weights cannot be used.
        RunStopped: the loss stayed non-finite, or a checkpoint could not be written.
    """
    parts = build.parts(cfg)
    need_decoder(parts, "reward")
    tokenizer = build.tokenizer(cfg)
    build.find_weights(cfg)
    rank, folder = cluster_environment().global_rank(), Path(cfg.output_dir)
    options = {"answers_alone": cfg.reward.input == "answer", "folder": folder / "data"}
    data = build.preference_datamodule(cfg, tokenizer, rank, parts.world_size, **options)
    data.setup()
    total_steps = planned_steps(cfg, data.plan.steps_per_epoch)
    model = build.tuned_model(cfg, parts, tokenizer)
    settings = RewardSettings(**{k: v for k, v in build.plain(cfg.reward).items() if k != "path"})
    module: Any = get_class(cfg.task.module)(model, build.fine_tuning_settings(cfg, parts, total_steps), settings)
    trainable, total = trainable_parameters(module)
    recorder = RunRecorder(None)
    trainer = build_trainer(cfg, parts, recorder, total_steps, data.plan.steps_per_epoch)
    log.info("%s pairs, %d steps of %d, %s parameters trained; %s", f"{len(data.train_pairs):,}", total_steps, cfg.batch.global_size,
             f"{trainable:,}", module.frozen)  # fmt: skip
    finished = fit(cfg, trainer, module, data, recorder)
    held_out: PairScores | None = module.scores_of_held_out
    result: dict[str, Any] = {
        "status": "done" if finished else "interrupted",
        **({f"val/{name}": value for name, value in held_out.metrics().items()} if held_out else {}),
        "val/loss_before": recorder.loss_before,
        **speed(recorder),
        "trainable_parameters": trainable,
        "total_parameters": total,
        "steps": trainer.global_step,
        "data": data.counts(),
    }
    state = trainer.strategy.lightning_module_state_dict()
    if finished and trainer.is_global_zero:
        result["reward_dir"] = str(write_reward_folder(cfg, parts, tokenizer, state, folder / "reward"))
        if held_out:
            write_scores(folder / "scores.tsv", data.held_out_pairs, held_out)
            (folder / "reliability.json").write_text(json.dumps(held_out.reliability(), indent=1) + "\n", encoding="utf-8")
    trainer.strategy.barrier()
    return result


def write_scores(path: Path, table: PairTable, scores: PairScores) -> None:
    """One line for every answer of the held-out pairs: prompt, answer, score; tabs and line breaks as escapes."""
    places = {name: i for i, name in enumerate(scores.record_ids)}
    with open(path, "w", encoding="utf-8", newline="") as out:
        lines = csv.writer(out, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, escapechar=None, quotechar=None)
        lines.writerow(("prompt", "answer", "score"))
        written: set[tuple[str, str]] = set()
        for pair in table:
            at = places[pair.chosen.record_id]
            for side, score in ((pair.chosen, scores.chosen[at]), (pair.rejected, scores.rejected[at])):
                prompt = "\n".join(m.content for m in side.prompt())
                if (prompt, side.reference()) not in written:
                    written.add((prompt, side.reference()))
                    lines.writerow((*escaped((prompt, side.reference())), f"{score:.6g}"))


def escaped(texts: Iterable[str]) -> list[str]:
    r"""Backslash, tab, carriage return and newline as \\, \t, \r, \n, so that a line is a record."""
    return [t.replace("\\", "\\\\").replace("\t", "\\t").replace("\r", "\\r").replace("\n", "\\n") for t in texts]
