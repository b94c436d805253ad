"""Rows with text in named columns, the layout of most question-and-answer files: what is wrong with one, if anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def wrong_text_columns(row: Any, required: Sequence[str], optional: Sequence[str] = ()) -> str | None:
    """Why `row` does not hold text in every required column, and text or nothing in the optional ones; None if it does."""
    expected = ", ".join((*required, *optional))
    if not isinstance(row, dict):
        return f"a row must be an object with the columns {expected}, this one is a {type(row).__name__}"
    for column in required:
        if not isinstance(row.get(column), str) or not row[column].strip():
            found = ", ".join(str(key)[:40] for key in list(row)[:20]) or "none"
            return f"column {column!r} is missing, empty or not text; expected columns: {expected}; found: {found}"
    for column in optional:
        if not isinstance(row.get(column) or "", str):
            return f"column {column!r} is not text"
    return None


def cell(row: dict[str, Any], column: str) -> str:
    """A text or number as it stands in a table, stripped; empty for anything else, which may be nested deeper than Python prints."""
    found = row.get(column)
    return str(found).strip() if isinstance(found, (str, int, float)) else ""
