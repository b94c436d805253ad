"""Alpaca rows: a json list or json lines of

    {"instruction": "Rewrite the sentence in the past tense.", "input": "I go to school.", "output": "I went to school."}

`input` may be empty or missing. Source of the format: tatsu-lab/stanford_alpaca, alpaca_data.json.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from datamodules.sources.source import FileSource
from kinnari.text.conversation import Message

COLUMNS = "instruction, input, output"


@dataclass(frozen=True, kw_only=True)
class Alpaca(FileSource):
    """A file of alpaca rows; the original ones are CC-BY-NC-4.0."""

    name: str = "alpaca"

    def convert(self, row: Any) -> tuple[Message, ...] | str:
        """A question with its input as context, and the answer."""
        problem = wrong_columns(row)
        if problem:
            return problem
        return Message("user", row["instruction"], context=row.get("input") or ""), Message("assistant", row["output"])


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
