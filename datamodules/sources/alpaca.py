"""Alpaca rows: a json list or json lines of

    {"instruction": "Rewrite the sentence in the past tense.", "input": "I go to school.", "output": "I went to school."}

`input` may be empty or missing. Rows in the wild also say so in words: `<noinput>` for an empty input, `<nooutput>` for an answer
the generating model never gave. Source of the format: tatsu-lab/stanford_alpaca, alpaca_data.json, 52,002 rows, CC-BY-NC-4.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from datamodules.sources.columns import wrong_text_columns
from datamodules.sources.source import FileSource
from kinnari.text.conversation import Message

COLUMNS = ("instruction", "input", "output")
# In small letters, without the brackets and spaces they come with.
NO_INPUT = {"noinput", "noinputs", "noinputprovided", "noinputrequired", "noinputneeded", "none", "n/a", "na", "nan"}
NO_OUTPUT = {"nooutput", "nooutputs", "noutput", "nan"}


@dataclass(frozen=True, kw_only=True)
class Alpaca(FileSource):
    """A file of alpaca rows."""

    name: str = "alpaca"
    language: str = "en"
    licence: str = "CC-BY-NC-4.0"

    def convert(self, row: Any) -> tuple[Message, ...] | str:
        """A question with its input as context, and the answer."""
        return alpaca_messages(row)


def alpaca_messages(row: Any) -> tuple[Message, ...] | str:
    """Question, context and answer of a decoded row of any type, or the reason why it is not an alpaca row."""
    problem = wrong_columns(row)
    if problem:
        return problem
    context = row.get("input") or ""
    return Message("user", row["instruction"], context="" if _is_word_for(context, NO_INPUT) else context), Message(
        "assistant", row["output"]
    )


def wrong_columns(row: Any, columns: Sequence[str] = COLUMNS) -> str | None:
    """Why a decoded row lacks the text of an alpaca row, or None.

    Args:
        columns: the names that instruction, input and output go by.
    """
    instruction, context, output = columns
    problem = wrong_text_columns(row, (instruction, output), (context,))
    if problem is None and _is_word_for(row[output], NO_OUTPUT):
        return f"column {output!r} says {row[output].strip()[:40]!r}, which is no answer"
    return problem


def _is_word_for(text: str, words: set[str]) -> bool:
    return len(text) < 40 and text.strip().strip("<>[]().").replace(" ", "").lower() in words
