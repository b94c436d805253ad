"""Alpaca rows: a json list or json lines of

    {"instruction": "Rewrite the sentence in the past tense.", "input": "I go to school.", "output": "I went to school."}

`input` may be empty or missing. Source of the format: tatsu-lab/stanford_alpaca, alpaca_data.json.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datamodules.reading import read_rows
from kinnari.text.conversation import Conversation, Message, Reject

COLUMNS = "instruction, input, output"


@dataclass(frozen=True, kw_only=True)
class Alpaca:
    """A file of alpaca rows.

    Args:
        path: json or jsonl file.
        language: of the answers, for reports; ISO 639-1.
        licence: of the file at hand; the original Alpaca rows are CC-BY-NC-4.0.
    """

    path: str
    language: str = "en"
    licence: str = "unknown"
    limit: int | None = None
    weight: float = 1.0
    name: str = "alpaca"

    def files(self) -> list[Path]:
        """The one file."""
        return [Path(self.path)]

    def read(self) -> Iterator[Conversation | Reject]:
        """One conversation per row."""
        for number, row in enumerate(read_rows(Path(self.path))):
            problem = row.error or wrong_columns(row.value)
            if problem:
                yield Reject(source=self.name, file=self.path, line=row.line, reason=problem, row=row.value)
                continue
            user = Message("user", row.value["instruction"], context=row.value.get("input") or "")
            yield Conversation(
                messages=(user, Message("assistant", row.value["output"])),
                record_id=f"{self.name}:{number}",
                source=self.name,
                language=self.language,
                licence=self.licence,
            )


def wrong_columns(row: Any) -> str | None:
    """Why a decoded row is not an alpaca row, or None."""
    if not isinstance(row, dict):
        return f"a row must be an object with the columns {COLUMNS}, this one is a {type(row).__name__}"
    for column in ("instruction", "output"):
        if not isinstance(row.get(column), str) or not row[column].strip():
            found = ", ".join(map(str, row)) or "none"
            return f"column {column!r} is missing, empty or not text; expected columns: {COLUMNS}; found: {found}"
    if not isinstance(row.get("input") or "", str):
        return "column 'input' is not text"
    return None
