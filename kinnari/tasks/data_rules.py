"""Settings of data that cannot work, refused before a file is opened: sources, mix, limits, held-out share, what tasks do with records."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from kinnari.errors import ConfigError

Config = Mapping[str, Any]
LARGEST_SEED = 2**32 - 1  # numpy's RandomState, by which a source's limit is drawn, takes no larger one


def check_seed(c: Config) -> None:
    """The seed of everything."""
    _whole("seed", c["seed"], 0, most=LARGEST_SEED)


def check_sources(c: Config) -> None:
    """What every source of `data=` has, those that a command adds with a plus sign as well."""
    if not c["data"]:
        raise ConfigError("data= names no source. Choose at least one: data=chatterbot, or 'data=[alpaca,chatterbot]'.")
    for name, source in c["data"].items():
        if not isinstance(source, Mapping):
            raise ConfigError(f"data.{name}={source} is no source. Write data={name}, and data.{name}.SETTING=VALUE for its settings.")
        _source(f"data.{name}", source)


def _source(key: str, source: Mapping[str, Any]) -> None:
    if "_target_" not in source:
        raise ConfigError(f"{key} names no class of sources. Give it one: {key}._target_=datamodules.sources.GenericFile, for a file.")
    if source.get("steps") is not None:
        _steps(f"{key}.steps", source["steps"])
    weight = source.get("weight", 1.0)
    if not _is_number(weight) or not 0 < weight < math.inf:
        raise ConfigError(f"{key}.weight={_shown(weight)} must be above 0; to leave the source out, leave it out of data=[...].")
    if source.get("limit") is not None and (not _is_whole(source["limit"]) or source["limit"] < 1):
        raise ConfigError(f"{key}.limit={source['limit']} must be a whole number of at least 1, or null for every record.")
    if source.get("limit_seed") is not None:
        _whole(f"{key}.limit_seed", source["limit_seed"], 0, most=LARGEST_SEED, or_null=True)
    for name in ("name", "language", "licence"):
        if name in source and not isinstance(source[name], str):
            raise ConfigError(f"{key}.{name}={_shown(source[name])} must be text, or left out.")
    if "path" in source:
        _path(f"{key}.path", source["path"])


def _path(key: str, path: Any) -> None:
    paths = path if isinstance(path, list) and path else [path]
    if not all(isinstance(p, str) and p.strip() for p in paths):
        raise ConfigError(f"{key}={_shown(path)} must be a file, a folder or a hub dataset, or a list of files and folders: {key}=[A,B].")


def check_preparation(c: Config) -> None:
    """What every task with a datamodule reads."""
    task = c["task"]
    if task["name"] in _TASKS:
        _TASKS[task["name"]](task)
    if "datamodule" not in task:
        return
    _held_out(c["held_out"])
    workers = c["preparation"]["workers"]
    if workers != "auto" and not (_is_whole(workers) and workers >= 1):
        raise ConfigError(f"preparation.workers={_shown(workers)} must be a whole number of at least 1, or auto for one per core.")
    _yes_or_no("preparation.cache", c["preparation"]["cache"])
    _steps("cleaning.steps", c["cleaning"].get("steps"))
    for name in ("max_source", "max_target"):
        if c["limits"][name] is not None:
            _whole(f"limits.{name}", c["limits"][name], 1, or_null=True)
    _whole("preflight.records", c["preflight"]["records"], 0)
    if c["loss_on"] == "everything" and c["model"]["template"]["name"] == "glm":
        raise ConfigError(
            "loss_on=everything means nothing with model/template=glm: every token of its context sees all others, so predicting the next "
            "one is copying it. Use loss_on=answers."
        )
    _mixing(c)


def _steps(key: str, steps: Any) -> None:
    if not isinstance(steps, Mapping):
        raise ConfigError(f"{key}={_shown(steps)} must name steps. Use cleaning=none for none of them.")
    for name, step in steps.items():
        if not isinstance(step, Mapping) or "_target_" not in step:
            raise ConfigError(f"{key}.{name}={_shown(step)} is no step. Write {{_target_: kinnari.cleaning.CLASS}}, or ~{key}.{name}.")


def _held_out(held_out: Mapping[str, Any]) -> None:
    fraction, near = held_out["fraction"], held_out["near_duplicates"]
    if fraction is not None and not (_is_number(fraction) and fraction >= 0):
        raise ConfigError(f"held_out.fraction={fraction} must be a number of at least 0, or null.")
    if fraction is not None and fraction >= 1:
        raise ConfigError(f"held_out.fraction={fraction} leaves nothing to train on; it must be below 1, such as 0.05.")
    _whole("held_out.most", held_out["most"], 0)
    if near not in (None, "auto") and not (_is_number(near) and 0 < near <= 1):
        raise ConfigError(
            f"held_out.near_duplicates={near} must be above 0 and at most 1, such as 0.8, null for equal questions alone, or auto."
        )


def _mixing(c: Config) -> None:
    temperature = c["mixing"]["temperature"]
    if temperature is None:
        return
    if not _is_number(temperature) or not temperature > 0:
        raise ConfigError(f"mixing.temperature={temperature} must be above 0: 1 keeps the proportions of the sources, 5 evens them out.")
    weighted = [name for name, source in c["data"].items() if source.get("weight", 1.0) != 1]
    if weighted:
        raise ConfigError(
            f"mixing.temperature={temperature} with data.{weighted[0]}.weight={c['data'][weighted[0]]['weight']}: both say how often the "
            "source is seen. Use one of them: mixing.temperature=null, or data.NAME.weight=1.0 everywhere."
        )


def _inspect(task: Mapping[str, Any]) -> None:
    _whole("task.records", task["records"], 0)


def _prepare(task: Mapping[str, Any]) -> None:
    _one_of("task.rows", task["rows"], ("conversations", "pairs"))
    _one_of("task.construction", task["construction"], ("adjacent", "all"))
    if task["pairs_per_prompt"] is not None:
        _whole("task.pairs_per_prompt", task["pairs_per_prompt"], 1, or_null=True)
    _yes_or_no("task.conversations", task["conversations"])


def _translate(task: Mapping[str, Any]) -> None:
    if task["limit"] is not None:
        _whole("task.limit", task["limit"], 1, or_null=True)


_TASKS = {"inspect": _inspect, "prepare": _prepare, "translate": _translate}


def _whole(key: str, value: Any, least: int, most: int | None = None, or_null: bool = False) -> None:
    if not _is_whole(value) or value < least or (most is not None and value > most):
        limit = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ConfigError(f"{key}={_shown(value)} must be a whole number {limit}{', or null' if or_null else ''}.")


def _one_of(key: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{key}={_shown(value)} is unknown. Choose one of {', '.join(choices)}.")


def _yes_or_no(key: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise ConfigError(f"{key}={_shown(value)} must be true or false.")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    return "null" if value is None else str(value)
