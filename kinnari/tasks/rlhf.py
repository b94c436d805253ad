"""task=rlhf: a base model and data -> SFT -> reward model -> PPO -> comparison, each done once.

rlhf.root/sft-HASH/           as task=sft, task=reward, task=ppo and task=compare leave them, and stage.json: what the hash is made of
          reward-HASH/
          ppo-HASH/
          evaluation-HASH/
output_dir/report.html        the chain on one page
           result.json        stages with status done | cached, win_rate, reward_sft, reward_ppo, samples side by side
"""

from __future__ import annotations

import gc
import json
import logging
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

from kinnari.errors import ConfigError
from kinnari.tasks import build
from kinnari.tasks.result import read_result, result_file
from kinnari.tasks.rlhf_page import report
from kinnari.tasks.rlhf_stages import Stage, planned, stage_config
from kinnari.tasks.rlhf_table import print_chain
from kinnari.tasks.rules import check
from kinnari.tasks.run import execute, save_config

log = logging.getLogger(__name__)

NAMED = "stage.json"
PRODUCTS = ("adapter_dir", "merged_dir", "reward_dir")  # of a result: folders that must still be there
NOTHING: dict[str, Any] = {"win_rate": None, "reward_sft": None, "reward_ppo": None, "samples": []}


def rlhf(cfg: DictConfig) -> dict[str, Any]:
    """Do what is not done yet of the four stages; returns what goes into result.json.

    Raises:
        ConfigError: a stage's config cannot work (all are looked at before the first begins), or its data or weights cannot be used.
        RunStopped: a stage cannot go on; the same command goes on inside it.
        RankFailed: a rank of a stage ended with an error.
    """
    if cfg.hw.num_nodes > 1:
        raise ConfigError(
            f"task=rlhf with hw.num_nodes={cfg.hw.num_nodes}: one process on one machine starts the chain. Use hw.num_nodes=1, or run its "
            "stages one by one (task=sft, task=reward, task=ppo, task=compare)."
        )
    if cfg.reward.path is not None:
        raise ConfigError(
            f"reward.path={cfg.reward.path} with task=rlhf: the chain trains a reward model of its own. Use task=ppo with this one."
        )
    stages = plan(cfg)
    for stage in stages:
        log.info("%s: %s%s", stage.name, stage.folder, " (done before)" if finished(stage) else "")
        check_before_parents(stage.cfg)
    rows: list[dict[str, Any]] = []
    results: dict[str, dict[str, Any]] = {}
    for stage in stages:
        results[stage.name], cached = run_stage(stage)
        rows.append(row(stage, results[stage.name], cached))
        if results[stage.name]["status"] != "done":
            log.warning("stopped in stage %s; the same command goes on from there", stage.name)
            return {"status": results[stage.name]["status"], "stages": rows, **NOTHING}
    told = {"stages": rows, **outcome(results), "report": str(report(Path(cfg.output_dir), rows, results))}
    print_chain(told)
    return told


def outcome(results: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The chain's own numbers out of those of its stages."""
    told, ppo = results["evaluation"], results["ppo"]
    counts = {
        key: told[key]
        for key in told
        if key.startswith(("win", "judge_", "reward_gain", "reward_sign")) or key in ("ties", "losses", "prompts")
    }
    sides = {f"{key}_{new}": told[f"{key}_{old}"] for old, new in (("before", "sft"), ("after", "ppo"))
             for key in ("reward", "response_tokens", "eos_rate")}  # fmt: skip
    folders = {key: ppo.get(key) for key in ("adapter_dir", "merged_dir")}
    accuracy = {"reward_accuracy": results["reward"].get("val/reward_accuracy"), "kl": ppo.get("ppo/kl")}
    return {**counts, **sides, **accuracy, **folders, "samples": told["samples"]}


# --- what will be done -----------------------------------------------------------------------------------------------------


def plan(cfg: DictConfig) -> list[Stage]:
    """The four stages; nothing runs, and nothing is read but the files of the data, for their hashes."""
    own: Any = OmegaConf.to_container(cfg.rlhf, resolve=True)
    root = Path(cfg.rlhf.root).expanduser().absolute()
    reward_cfg = stage_config(cfg, "reward", own["reward"])
    ppo_cfg = stage_config(cfg, "ppo", {"generation": "greedy"}, own["ppo"])  # the command's is the evaluation's, and PPO refuses others
    # adapters go on from an adapter; only a stage that trains weights needs those of the stage before
    merged = any(c.strategy.tuning.name == "full" for c in (reward_cfg, ppo_cfg))
    sft = planned("sft", stage_config(cfg, "sft", {"task": {"export_merged": merged}}, own["sft"]), root, [])
    reward = planned("reward", reward_cfg, root, [])
    if reward_cfg.model.name == cfg.model.name:
        go_on(reward_cfg, sft)
        reward = planned("reward", reward_cfg, root, [sft])
    go_on(ppo_cfg, sft)
    ppo_cfg.reward.path = str(reward.folder / "reward")
    parents = [sft, reward] if ppo_cfg.ppo.reward == "model" else [sft]
    ppo = planned("ppo", ppo_cfg, root, parents)
    return [sft, reward, ppo, evaluation(cfg, own, root, sft, reward, ppo)]


def evaluation(cfg: DictConfig, own: Mapping[str, Any], root: Path, sft: Stage, reward: Stage, ppo: Stage) -> Stage:
    """PPO's data and model, asked for answers as long as PPO's own, before and after it."""
    longest = ppo.cfg.ppo.response_length
    length = int(longest) if isinstance(longest, int) else max(longest)
    told = stage_config(cfg, "evaluation", without_task(own["ppo"]), {"generation": {"max_new_tokens": length}}, own["evaluation"])
    told.model, told.reward.path = ppo.cfg.model, str(reward.folder / "reward")
    told.task.before = ppo.cfg.model.adapter or ppo.cfg.model.path
    told.task.after = str(product(ppo))
    return planned("evaluation", told, root, [sft, reward, ppo])


def without_task(settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """A stage's settings without those of its task, which another task does not have."""
    kept = {key: value for key, value in (settings or {}).items() if key != "task"}
    return kept | {"overrides": [word for word in kept.get("overrides") or [] if not str(word).lstrip("+").startswith("task.")]}


def product(stage: Stage) -> Path:
    """Where a finished stage has its model: the adapter, or the weights after full tuning."""
    return stage.folder / ("merged" if stage.cfg.strategy.tuning.name == "full" else "adapter")


def go_on(cfg: DictConfig, sft: Stage) -> None:
    """Begin where `sft` ended: with its adapter where both train one, else with its weights.

    Raises:
        ConfigError: the weights are wanted and rlhf.sft says not to write them.
    """
    if "full" not in (cfg.strategy.tuning.name, sft.cfg.strategy.tuning.name):
        cfg.model.adapter = str(product(sft))
        return
    if not (sft.cfg.task.export_merged or sft.cfg.strategy.tuning.name == "full"):
        raise ConfigError(
            "rlhf.sft sets task.export_merged=false, but a later stage trains all weights and begins with the merged ones. Leave that out."
        )
    whole: dict[str, Any] = {
        "path": str(sft.folder / "merged"),
        "package": None,
        "toy": None,
        "shrunk": False,
        "adapter": None,
        "add_tokens": [],
    }
    cfg.model = {**build.plain(cfg.model), **whole}


def check_before_parents(cfg: DictConfig) -> None:
    """The rules of a stage whose parents may not be there yet."""
    alone = cfg.copy()
    alone.model.adapter = None
    check(alone)


# --- doing it --------------------------------------------------------------------------------------------------------------


def finished(stage: Stage) -> dict[str, Any] | None:
    """The result of a stage that is done and whose folders are there; None otherwise."""
    if not result_file(stage.cfg).is_file():
        return None
    try:
        result = read_result(stage.cfg)
    except ValueError:  # torn
        return None
    there = all(Path(result[key]).is_dir() for key in PRODUCTS if result.get(key))
    return result if result["status"] == "done" and there else None


def run_stage(stage: Stage) -> tuple[dict[str, Any], bool]:
    """(result, whether it was there); a second chain that needs the same stage waits for the first."""
    stage.folder.parent.mkdir(parents=True, exist_ok=True)
    with _only_one(stage.folder.with_name(f".{stage.folder.name}.lock")):
        found = finished(stage)
        if found is not None:
            log.info("stage %s is done: %s", stage.name, stage.folder)
            return found, True
        log.info("stage %s begins: %s", stage.name, stage.folder)
        cfg = stage.cfg.copy()
        cfg.checkpoint.resume = "auto"
        check(cfg)
        save_config(cfg)
        (stage.folder / NAMED).write_text(json.dumps({"hash": stage.hash, **stage.covered}, indent=1, ensure_ascii=False) + "\n", "utf-8")
        execute(cfg)
    gc.collect()  # the next stage has the memory to itself
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return read_result(stage.cfg), False


def _only_one(path: Path) -> FileLock:
    lock = FileLock(path)
    try:
        with lock.acquire(timeout=0):
            pass
    except Timeout:
        log.info("another chain is at work on this stage (%s); waiting for it", path)
    return lock


def row(stage: Stage, result: Mapping[str, Any], cached: bool) -> dict[str, Any]:
    """What result.json says of a stage; `seconds` are those of the run that did it."""
    numbers = {key: value for key, value in result.items() if isinstance(value, int | float) and not isinstance(value, bool)}
    return {
        "name": stage.name,
        "hash": stage.hash,
        "folder": str(stage.folder),
        "status": "cached" if cached else result["status"],
        "seconds": numbers.pop("seconds", None),
        "metrics": numbers,
        "command": command(stage.folder),
    }


def command(folder: Path) -> str:
    """Runs the stage by itself, in its folder."""
    words: Sequence[str] = ("--config-path", str(folder), "--config-name", "config", f"hydra.run.dir={folder}")
    return "python launch.py " + " ".join(shlex.quote(word) for word in words).replace(os.sep + os.sep, os.sep)
