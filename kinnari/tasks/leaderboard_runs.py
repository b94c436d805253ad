"""Folders that task=evaluate and task=judge left, read for a comparison."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinnari.errors import ConfigError

Row = Mapping[str, Any]
ASKED = ("scoring", "prompt", "shots", "calibration", "chat", "template", "limit", "seed", "dtype")


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A model on a benchmark.

    Attributes:
        name: of the model, unique for this benchmark.
        numbers: metric -> value or None.
        how: how it was asked.
        rows: lines of examples.jsonl.
    """

    name: str
    benchmark: str
    metric: str
    numbers: Mapping[str, float | None]
    how: Mapping[str, Any]
    rows: Sequence[Row]


@dataclass(frozen=True)
class Judged:
    """A run of task=judge: its name, and its result.json."""

    name: str
    result: Mapping[str, Any]


def read_runs(folders: Sequence[str], names: Sequence[str] | None) -> tuple[list[Scored], list[Judged]]:
    """All benchmarks and all judgements of these folders.

    Args:
        names: of the folders; None for what they scored, with the folder where that is not unique.

    Raises:
        ConfigError: a folder that is no finished run of either task, or two with one name and one benchmark.
    """
    scored: list[Scored] = []
    judged: list[Judged] = []
    results = [_result(Path(folder).expanduser()) for folder in folders]
    for i, (folder, result) in enumerate(zip(folders, results, strict=True)):
        path = Path(folder).expanduser()
        if result["task"] == "judge":
            judged.append(Judged(names[i] if names else path.name, result))
        else:
            scored += _benchmarks(path, names[i] if names else None)
    return (scored if names else _told_apart(scored, folders)), judged


def _result(folder: Path) -> Mapping[str, Any]:
    file = folder / "result.json"
    if not file.is_file():
        raise ConfigError(f"task.runs: {file} does not exist. Give the output_dir of a run of task=evaluate or task=judge.")
    result = _json(file)
    if not isinstance(result, dict) or result.get("task") not in ("evaluate", "judge"):
        told = result.get("task") if isinstance(result, dict) else "nothing"
        raise ConfigError(f"task.runs: {folder} is a run of task={told}. Give runs of task=evaluate or task=judge.")
    if result.get("status") != "done":
        raise ConfigError(f"task.runs: {folder} is a run that ended as {result.get('status')!r}. Start it again, or leave it out.")
    return result


def _benchmarks(folder: Path, name: str | None) -> list[Scored]:
    summary = _json(folder / "summary.json")
    rows: dict[str, list[Row]] = defaultdict(list)
    file = folder / "examples.jsonl"
    with file.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, 1):
            try:
                row = json.loads(line)
                rows[row["benchmark"]].append(row)
            except (ValueError, KeyError, TypeError) as problem:
                raise ConfigError(f"{file} line {number} is no line that task=evaluate writes. Score the model again.") from problem
    try:
        return [
            Scored(
                name=name or described(entry["how"]) + f"\0{folder}",
                benchmark=benchmark,
                metric=entry["metric"],
                numbers={key.removeprefix(f"{benchmark}/"): value for key, value in entry["numbers"].items()},
                how=entry["how"],
                rows=rows[benchmark],
            )
            for benchmark, entry in summary.items()
        ]
    except (AttributeError, KeyError, TypeError) as problem:
        raise ConfigError(f"{folder}/summary.json is not what task=evaluate writes ({problem!r}). Score the model again.") from problem


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise ConfigError(f"{file} cannot be read ({problem}). Score the model again.") from problem


def described(how: Mapping[str, Any]) -> str:
    """The model in a few words: what it was loaded from, or the name of its file."""
    if how.get("checkpoint"):
        return str(how["checkpoint"])
    name = str(how["path"] or how["model"])
    return f"{name} + {how['adapter']}" if how.get("adapter") else name


def _told_apart(scored: list[Scored], folders: Sequence[str]) -> list[Scored]:
    """The model's description alone where that is unique on its benchmark, else with the folder's name, else with the whole folder."""
    endings = Counter(Path(folder).name for folder in folders)
    plain = Counter((one.benchmark, one.name.split("\0")[0]) for one in scored)
    clashing = {name for (_, name), times in plain.items() if times > 1}
    found = []
    for one in scored:
        name, folder = one.name.split("\0")
        if name in clashing:
            name = f"{name} ({Path(folder).name if endings[Path(folder).name] == 1 else folder})"
        found.append(Scored(**{**vars(one), "name": name}))
    return found


def check_unique(scored: Sequence[Scored]) -> None:
    """Raises ConfigError where a model has one benchmark twice."""
    twice = [key for key, times in Counter((one.name, one.benchmark) for one in scored).items() if times > 1]
    if twice:
        raise ConfigError(
            f"task.runs has benchmark {twice[0][1]} of {twice[0][0]!r} twice. Give each run of it a name of its own in task.names."
        )


def differing(one: Scored, other: Scored) -> list[str]:
    """Settings in which two were not asked alike."""
    return [key for key in ASKED if key not in ("limit", "dtype") and one.how.get(key) != other.how.get(key)]
