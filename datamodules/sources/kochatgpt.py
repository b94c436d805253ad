"""KoChatGPT, supervised part: Korean questions with ChatGPT's answers, a json list (in a file named .jsonl) of

    {"prompt": "불고기용 고기 한우에요?", "completion": "'저는 인공지능 챗봇이며, ...", "tokens": 193}

Many answers begin with a quotation mark that is never closed; it is taken off. Source: airobotlab/KoChatGPT, kochatgpt_1_SFT.jsonl,
12,000 rows, no licence stated. Its second file, kochatgpt_1_SFT_conversation.jsonl, holds no json and is not read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from datamodules.sources.columns import wrong_text_columns
from datamodules.sources.source import FileSource
from kinnari.text.conversation import Message


@dataclass(frozen=True, kw_only=True)
class KoChatGPT(FileSource):
    """Rows of one question and one answer."""

    name: str = "kochatgpt"
    language: str = "ko"

    def convert(self, row: Any) -> tuple[Message, ...] | str:
        """`prompt` and `completion`."""
        problem = wrong_text_columns(row, ("prompt", "completion"))
        if problem:
            return problem
        answer = without_open_quote(row["completion"].strip())
        return (Message("user", row["prompt"].strip()), Message("assistant", answer)) if answer else "the answer is a quotation mark"


def without_open_quote(text: str) -> str:
    """Text without a single quotation mark at its beginning that has no partner."""
    return text[1:].lstrip() if text.startswith("'") and text.count("'") % 2 else text
