"""Rows written to a file as a source finds them, and read through it."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kinnari.text.conversation import Conversation, Message, Reject


def written(folder: Path, rows: Sequence[Any], suffix: str = ".jsonl", name: str = "rows") -> str:
    """The path of a file with `rows`: json lines, a json list (.json) or a table whose heading is the keys of the first row (.csv)."""
    path = folder / f"{name}{suffix}"
    if suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as stream:
            table = csv.DictWriter(stream, list(rows[0]))
            table.writeheader()
            table.writerows(rows)
    elif suffix == ".json":
        path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    else:
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def read(folder: Path, source: Any, *rows: Any, suffix: str = ".jsonl", **options: Any) -> list[Conversation | Reject]:
    """What `source` makes of `rows`."""
    return list(source(path=written(folder, rows, suffix), **options).read())


def talk(*turns: str) -> tuple[Message, ...]:
    """Question, answer, question, answer ... as messages."""
    return tuple(Message("assistant" if i % 2 else "user", text) for i, text in enumerate(turns))


def reasons(records: list[Conversation | Reject]) -> list[str]:
    """Why rows were rejected, in their order."""
    return [record.reason for record in records if isinstance(record, Reject)]


def kept(records: list[Conversation | Reject]) -> list[Conversation]:
    """The conversations, in their order."""
    return [record for record in records if isinstance(record, Conversation)]
