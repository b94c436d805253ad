"""OIG small chip2 in Korean: the English row and its translation by Google, columns

    {"user": "Write a headline", "chip2": "I can help! ...", "user_translated": "헤드라인 쓰기", "chip2_translated": "도와드릴게요! ..."}

Source: heegyu/OIG-small-chip2-ko, 210k rows, Apache-2.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from datamodules.sources.columns import wrong_text_columns
from datamodules.sources.source import FileSource
from kinnari.text.conversation import Message


@dataclass(frozen=True, kw_only=True)
class OIGChip2Ko(FileSource):
    """Rows of one question and one answer.

    Args:
        translated: the Korean half; False takes the English one, whose `language` is then to be set to en.
    """

    translated: bool = True
    name: str = "oig_chip2_ko"
    language: str = "ko"
    licence: str = "Apache-2.0"

    def convert(self, row: Any) -> tuple[Message, ...] | str:
        """The question and the answer of the half asked for."""
        question, answer = ("user_translated", "chip2_translated") if self.translated else ("user", "chip2")
        problem = wrong_text_columns(row, (question, answer))
        return problem or (Message("user", row[question].strip()), Message("assistant", row[answer].strip()))
