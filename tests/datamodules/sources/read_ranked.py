"""What sources of ranked answers make of files, in short forms for comparing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from datamodules.sources import RankedSource
from kinnari.text.conversation import Reject
from kinnari.text.ranked import RankedAnswers


def put(folder: Path, files: Mapping[str, str]) -> str:
    """Writes files (relative path -> text) into `folder` and returns it."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")
    return str(folder)


def ranked(source: RankedSource) -> list[RankedAnswers]:
    """The prompts; fails if a row was rejected."""
    items = list(source.read_ranked())
    assert not [item for item in items if isinstance(item, Reject)], items
    return [item for item in items if isinstance(item, RankedAnswers)]


def rejected(source: RankedSource) -> list[tuple[int, str]]:
    """(line, reason) of what was rejected."""
    return [(item.line, item.reason) for item in source.read_ranked() if isinstance(item, Reject)]


def answers(record: RankedAnswers) -> list[tuple[str, float | None]]:
    """(text, score), best first."""
    return [(answer.answer, answer.score) for answer in record.answers]


def prompt(record: RankedAnswers) -> str:
    """The question of a prompt that has nothing else."""
    (message,) = record.prompt
    assert message.role == "user" and not message.context
    return message.content
