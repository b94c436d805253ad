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
from kinnari.models.reward import RewardSettings, check_pooling
from kinnari.tasks import build
from kinnari.tasks.pair_training import read_pairs, train_on_pairs
from kinnari.tasks.reward_folder import write_reward_folder
from kinnari.text.pairs import PairTable

log = logging.getLogger(__name__)


def reward(cfg: DictConfig) -> dict[str, Any]:
    """Train, validate, write the model; returns what goes into result.json.

    Raises:
        ConfigError: data or weights cannot be used.
        RunStopped: the loss stayed non-finite, or a checkpoint could not be written.
    """
    parts = build.parts(cfg)
    settings = RewardSettings(**{k: v for k, v in build.plain(cfg.reward).items() if k != "path"})
    check_pooling(settings, parts.spec.architecture)
    tokenizer, folder = build.tokenizer(cfg), Path(cfg.output_dir)
    data, total_steps = read_pairs(cfg, parts, tokenizer, answers_alone=settings.input == "answer")
    model = build.tuned_model(cfg, parts, tokenizer)
    module: Any = get_class(cfg.task.module)(model, build.fine_tuning_settings(cfg, parts, total_steps), settings, parts.spec.packing)
    log.info("%s", module.frozen)
    trainer, finished, result = train_on_pairs(cfg, parts, module, data, total_steps)
    held_out: PairScores | None = module.scores_of_held_out
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
