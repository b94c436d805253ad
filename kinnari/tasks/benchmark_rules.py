"""Rules of benchmarks: the section `benchmark`, and the devices of task=evaluate. Each raises a ConfigError before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kinnari.errors import ConfigError, need_number, need_truth

Config = Mapping[str, Any]

_CHOICES = {
    "scoring": (None, "label", "sequence", "length_normalised", "pmi", "legacy"),
    "prompt": (None, "published", "label_last"),
    "candidates": ("sampled", "all"),
    "calibration": ("none", "prior"),
}
_NUMBERS = {
    "limit": {"least": 1, "null": "all questions"},
    "shots": {"least": 0},
    "shot_tokens": {"least": 1, "null": "no limit"},
    "max_length": {"least": 2, "null": "what the model was made for"},
    "token_budget": {"least": 1, "null": "what suits the device"},
    "seed": {"least": 0},
}
_TRUTHS = ("shots_balanced", "chat", "cache")


def check_benchmarks(c: Config) -> None:
    """What all benchmarks share, where any is asked."""
    section = c["benchmark"]
    if not isinstance(section, Mapping):
        raise ConfigError(f"benchmark={section} replaces a whole section by one value. Write benchmark=NAME or 'benchmark=[NAME,NAME]'.")
    chosen = {name: node for name, node in section.items() if isinstance(node, Mapping)}
    used = {"evaluate": "task=evaluate"}.get(c["task"]["name"], "callbacks=benchmarks" if "benchmarks" in c["callbacks"] else None)
    if used is None:
        return
    if not chosen:
        raise ConfigError(
            f"{used} without a benchmark. Name one or several: benchmark=tnews, or 'benchmark=[tnews,ocnli]', and where their files are: "
            "benchmark.data_dir=DIR. docs/benchmarks.md lists them."
        )
    _settings("benchmark", section)
    for name, node in chosen.items():
        _settings(f"benchmark.{name}", node)


def check_evaluation_devices(c: Config, parallel: str) -> None:
    """Every rank of task=evaluate holds the whole model.

    Args:
        parallel: the strategy, `auto` resolved.
    """
    if c["task"]["name"] == "evaluate" and parallel not in ("single", "ddp"):
        raise ConfigError(
            f"strategy/parallel={parallel} with task=evaluate: every device holds the whole model and answers a part of the questions. Use "
            "strategy/parallel=ddp; for a model too large for one device strategy=qlora, or strategy/parallel=single with "
            "strategy.parallel.device_map=auto."
        )


def check_leaderboard(c: Config) -> None:
    """task=leaderboard: which runs."""
    task = c["task"]
    if task["name"] != "leaderboard":
        return
    runs, names = task["runs"], task["names"]
    if not isinstance(runs, list) or not runs or not all(isinstance(run, str) and run.strip() for run in runs):
        raise ConfigError(f"task.runs={_shown(runs)} must be a list of folders of task=evaluate and task=judge: 'task.runs=[RUN1,RUN2]'.")
    if names is not None and (not isinstance(names, list) or len(names) != len(runs) or not all(isinstance(name, str) for name in names)):
        raise ConfigError(f"task.names={names} must be a name for each of the {len(runs)} folders of task.runs, or null.")
    need_number("task.shown", task["shown"], least=0, whole=True)


def _settings(key: str, node: Mapping[str, Any]) -> None:
    for name, known in _CHOICES.items():
        if name in node and node[name] not in known:
            choices = ", ".join("null" if choice is None else choice for choice in known)
            raise ConfigError(f"{key}.{name}={_shown(node[name])} is unknown; choose one of {choices}.")
    for name, bounds in _NUMBERS.items():
        if name in node:
            need_number(f"{key}.{name}", node[name], whole=True, **bounds)  # type: ignore[arg-type]
    for name in _TRUTHS:
        if name in node:
            need_truth(f"{key}.{name}", node[name])
    for name in ("data_dir", "cache_dir", "split"):
        if node.get(name) is not None and not isinstance(node[name], str):
            raise ConfigError(f"{key}.{name}={node[name]} must be text, or null.")


def _shown(value: Any) -> str:
    return "null" if value is None else str(value)
