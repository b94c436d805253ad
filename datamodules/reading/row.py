"""A decoded row, and the checks that every format shares."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

WHOLE = 2000  # characters of a row of another kind kept whole there
SHOWN = 200  # characters of a broken row kept in the rejects file
DEEPEST = 100  # levels of lists and objects; what handles rows later recurses, and Python's own limit is a thousand frames
BAD_BYTES = "the row holds bytes that are not UTF-8"
TOO_DEEP = f"the row is nested more than {DEEPEST} levels deep"


@dataclass(frozen=True)
class Row:
    """A decoded row, or why it could not be decoded (`error`).

    Attributes:
        line: 1-based, where the row begins; the number of the row where a file has no lines (parquet, arrow, hub).
        value: any JSON value; for tables a dict of column -> text, number or None; for plain text one line.
    """

    line: int
    value: Any = None
    error: str | None = None


def checked(line: int, value: Any) -> Row:
    """The row, or its error if it holds half a character or is nested too deeply; walks the whole value."""
    problem = problem_of(value)
    return Row(line, readable(value), problem) if problem else Row(line, value)


def problem_of(value: Any, depth: int = 0) -> str | None:
    """Why a decoded value cannot be used: bytes that were no text (they decode to surrogates), or its depth."""
    if isinstance(value, str):
        return None if is_text(value) else BAD_BYTES
    if isinstance(value, (dict, list)):
        if depth >= DEEPEST:
            return TOO_DEEP
        inner = [*value.keys(), *value.values()] if isinstance(value, dict) else value
        return next((problem for item in inner if (problem := problem_of(item, depth + 1))), None)
    return None


def is_text(text: str) -> bool:
    """Whether `text` can be written as UTF-8: no lone surrogate in it."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def readable(value: Any) -> str:
    """The first characters of a row of any kind, printable as UTF-8."""
    if not isinstance(value, str):
        try:
            value = json.dumps(value, ensure_ascii=False, default=str)
        except (RecursionError, ValueError, TypeError):
            value = f"({type(value).__name__})"
    return value[:SHOWN].encode("utf-8", "backslashreplace").decode()


def shown(value: Any) -> Any:
    """A row for the rejects file: as it is where that is short and JSON, else its first characters."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (RecursionError, ValueError, TypeError):
        return readable(value)
    return value if len(text) <= WHOLE and is_text(text) else readable(value if isinstance(value, str) else text)
