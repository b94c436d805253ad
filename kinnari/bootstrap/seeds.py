"""Seed tasks, json lines of

    {"id": "seed_0", "name": "past_tense", "instruction": "Rewrite the sentence in the past tense.",
     "instances": [{"input": "I go to school.", "output": "I went to school."}], "is_classification": false}

`language` (ISO 639-1) may be given; else it is told from the text. Source of the format: yizhongw/self-instruct.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinnari.errors import ConfigError
from kinnari.text.language import language_of

SHIPPED = Path(__file__).parent / "seed_tasks.jsonl"
KEYS = "id, name, instruction, instances, is_classification"


@dataclass(frozen=True)
class Instance:
    """One example of a task; `input` is empty where the instruction says all."""

    input: str
    output: str


@dataclass(frozen=True, kw_only=True)
class SeedTask:
    """A task written by a person."""

    id: str
    name: str
    instruction: str
    instances: tuple[Instance, ...]
    is_classification: bool
    language: str


def read_seed_tasks(path: Path | str | None = None) -> list[SeedTask]:
    """The tasks of a file, or of the set that Kinnari ships.

    Raises:
        ConfigError: the file is not there or a line is no seed task; the message names the first such line.
    """
    file = SHIPPED if path is None else Path(path).expanduser()
    try:
        lines = file.read_bytes().split(b"\n")
    except OSError as error:
        raise ConfigError(f"bootstrap.seed_tasks={file} cannot be read ({error.strerror}). Give a json-lines file with {KEYS}.") from error
    seeds = [_seed(line, f"{file}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]
    seen: dict[str, int] = {}
    for number, seed in enumerate(seeds, 1):
        if seen.setdefault(seed.id, number) != number:
            raise ConfigError(f"{file}: tasks {seen[seed.id]} and {number} both have the id {seed.id!r}; ids must differ.")
    if not seeds:
        raise ConfigError(f"bootstrap.seed_tasks={file} holds no task. Give a json-lines file with {KEYS}.")
    return seeds


def _seed(line: bytes, place: str) -> SeedTask:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{place} is not json ({error}). Each line is one object with {KEYS}.") from error
    problem = _problem(row)
    if problem:
        raise ConfigError(f"{place}: {problem}. Each line is one object with {KEYS}.")
    instances = tuple(Instance(instance.get("input") or "", instance["output"]) for instance in row["instances"])
    return SeedTask(
        id=str(row["id"]),
        name=str(row.get("name", "")),
        instruction=row["instruction"],
        instances=instances,
        is_classification=row["is_classification"],
        language=row.get("language") or _language(row["instruction"], instances[0]),
    )


def _language(instruction: str, instance: Instance) -> str:
    """That of the instruction where its script says it; the few words of one in Latin letters are judged together with the rest."""
    by_script = language_of(instruction)
    return by_script if by_script in ("th", "ko", "zh", "ja") else language_of("\n".join([instruction, instance.input, instance.output]))


def _problem(row: Any) -> str | None:
    if not isinstance(row, dict):
        return f"a task is an object, this is a {type(row).__name__}"
    if not isinstance(row.get("id"), str | int):
        return "the key 'id' is missing or neither text nor a number"
    if not isinstance(row.get("instruction"), str) or not row["instruction"].strip():
        return "the key 'instruction' is missing, empty or not text"
    if not isinstance(row.get("is_classification"), bool):
        return "the key 'is_classification' is missing or not true or false"
    if not isinstance(row.get("language") or "", str):
        return "the key 'language' is not text"
    if not isinstance(row.get("instances"), list) or not row["instances"]:
        return "the key 'instances' is missing or no list of at least one {input, output}"
    return next((problem for instance in row["instances"] if (problem := _instance_problem(instance))), None)


def _instance_problem(instance: Any) -> str | None:
    if not isinstance(instance, dict) or not isinstance(instance.get("output"), str) or not instance["output"].strip():
        return "an instance has no 'output', or an empty one, or one that is not text"
    return None if isinstance(instance.get("input") or "", str) else "the 'input' of an instance is not text"


def by_language(seeds: Sequence[SeedTask], least: int, languages: Sequence[str] | None = None) -> dict[str, list[SeedTask]]:
    """Seeds that go together into prompts, by language.

    Args:
        least: seeds that a prompt shows; a language with fewer is left out, unless it was asked for.
        languages: those wanted; None for all that have enough.

    Raises:
        ConfigError: a wanted language, or every one, has too few seeds.
    """
    groups: dict[str, list[SeedTask]] = {}
    for seed in seeds:
        groups.setdefault(seed.language, []).append(seed)
    counts = ", ".join(f"{len(group)} in {language or 'no known language'}" for language, group in groups.items())
    chosen = [language for language in groups if len(groups[language]) >= least] if languages is None else list(languages)
    short = [language for language in chosen if len(groups.get(language, ())) < least]
    if short or not chosen:
        wanted = f"bootstrap.languages=[{','.join(short)}]" if short else "bootstrap.seed_tasks"
        raise ConfigError(f"{wanted}: a prompt shows {least} seed tasks of one language, and the file has {counts or 'none that fit'}. "
                          "Add tasks, choose other languages, or lower the number of tasks in a prompt.")  # fmt: skip
    return {language: groups[language] for language in chosen}
