"""Short Korean questions and answers, a csv file:

    Q,A,label
    12시 땡!,하루가 또 가네요.,0

`label`: 0 everyday life, 1 a love lost, 2 love. Source: songys/Chatbot_data, ChatbotData.csv, 11,823 rows, MIT.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from datamodules.sources.columns import cell, wrong_text_columns
from datamodules.sources.source import FileSource
from kinnari.text.conversation import Message


@dataclass(frozen=True, kw_only=True)
class ChatbotData(FileSource):
    """Rows of one question and one answer.

    Args:
        labels: subjects to keep, of 0, 1 and 2; None for all.
    """

    labels: list[int] | None = None
    name: str = "chatbot_data"
    language: str = "ko"
    licence: str = "MIT"

    def convert(self, row: Any) -> tuple[Message, ...] | str:
        """`Q` and `A`."""
        problem = wrong_text_columns(row, ("Q", "A"))
        if problem:
            return problem
        if self.labels is not None and cell(row, "label") not in map(str, self.labels):
            return f"label {cell(row, 'label')[:20]!r} is not among those asked for"
        return Message("user", row["Q"].strip()), Message("assistant", row["A"].strip())
