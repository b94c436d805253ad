"""BELLE, Chinese instructions and dialogues generated with ChatGPT; json lines in one of four layouts:

    {"instruction": "翻译成英文。", "input": "天气很好。", "output": "The weather is nice."}                  0.5M, 1M, 2M, school math
    {"instruction": "Human:你好\\nAssistant:你好！\\nHuman:天气如何？\\nAssistant:", "output": "今天晴。"}   multiturn_chat_0.8M
    {"conversations": [{"from": "human", "value": "你好"}, {"from": "assistant", "value": "你好！"}]}      3.5M
    {"input": "用一句话描述地球。\\\\n", "target": "一颗蓝色的行星。"}                                      the first 0.5M file

The last one writes line ends as a backslash and an n. Source: BelleGroup on the hub, LianjiaTech/BELLE; GPL-3.0, research only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datamodules.sources.alpaca import alpaca_messages
from datamodules.sources.columns import wrong_text_columns
from datamodules.sources.cued_text import Part
from datamodules.sources.history import messages_from_history
from datamodules.sources.source import FileSource
from datamodules.sources.turns import messages_from_turns
from kinnari.text.conversation import Message

CUE = re.compile(r"^[ \t]*(Human|Assistant)[ \t]*[:：]", re.MULTILINE)
PARTS: Mapping[str, Part] = {"Human": "user", "Assistant": "assistant"}


@dataclass(frozen=True, kw_only=True)
class Belle(FileSource):
    """A file of BELLE; the layout is told row by row."""

    name: str = "belle"
    language: str = "zh"
    licence: str = "GPL-3.0"

    def convert(self, row: Any) -> tuple[Message, ...] | str:
        """Question and answer, or the dialogue that a row holds."""
        if isinstance(row, dict) and "conversations" in row:
            return messages_from_turns(row["conversations"])
        if isinstance(row, dict) and "target" in row:
            return _first_layout(row)
        messages = alpaca_messages(row)
        if isinstance(messages, str) or not CUE.match(row["instruction"].lstrip()):
            return messages
        # `input` is empty in dialogues; where it is not, it goes on with what the last speaker says.
        history = "\n".join(part for part in (row["instruction"], row.get("input")) if part)
        return messages_from_history(history, CUE, PARTS, row["output"])


def _first_layout(row: dict[str, Any]) -> tuple[Message, ...] | str:
    problem = wrong_text_columns(row, ("input", "target"))
    if problem:
        return problem
    question, answer = (row[column].replace("\\n", "\n").strip() for column in ("input", "target"))
    if not question or not answer:
        return "question or answer is nothing but line ends"
    return Message("user", question), Message("assistant", answer)
