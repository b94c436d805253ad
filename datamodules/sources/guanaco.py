"""Guanaco, instructions and dialogues in English, Chinese, Japanese, German and more:

    {"instruction": "写一首关于雨的诗", "input": "", "output": "雨落..."}                                     without history
    {"instruction": "User: Who are you?\\nAssistant: Guanaco.", "input": "System: ...\\nUser: 你好", "output": "你好！"}   with it

`instruction` then holds the dialogue so far and `input` the question, before it what the assistant may look up (`System:`). Not to be
confused with openassistant_guanaco. Source: JosephusCheung/GuanacoDataset, GPL-3.0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datamodules.sources.alpaca import COLUMNS, alpaca_messages
from datamodules.sources.columns import wrong_text_columns
from datamodules.sources.cued_text import Part
from datamodules.sources.history import messages_from_history
from datamodules.sources.source import FileSource
from kinnari.text.conversation import Message

CUE = re.compile(r"^[ \t]*(User|Assistant|System)[ \t]*[:：]", re.MULTILINE)
PARTS: Mapping[str, Part] = {"User": "user", "Assistant": "assistant", "System": "context"}
_OWN_CUE = re.compile(r"\A\s*Assistant[ \t]*[:：]\s*")


@dataclass(frozen=True, kw_only=True)
class Guanaco(FileSource):
    """A file of Guanaco rows; the language is told from each text."""

    name: str = "guanaco"
    licence: str = "GPL-3.0"

    def convert(self, row: Any) -> tuple[Message, ...] | str:
        """Question and answer with the dialogue before them, where there is one."""
        problem = wrong_text_columns(row, ("output",), ("instruction", "input"))
        if problem:
            return problem
        instruction, question = (row.get(column) or "" for column in COLUMNS[:2])
        if not CUE.match(instruction.lstrip()) and not CUE.match(question.lstrip()):
            return alpaca_messages(row)
        answer = _OWN_CUE.sub("", row["output"])
        if not answer.strip():
            return "column 'output' holds nothing but the cue of the answer"
        return messages_from_history(f"{instruction}\n{question}", CUE, PARTS, answer)
