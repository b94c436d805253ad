"""The best path of each OASST1 tree as one string, the set Guanaco was trained on, json lines of

    {"text": "### Human: สวัสดี### Assistant: สวัสดีครับ ให้ช่วยอะไรดี### Human: ..."}

Cues stand wherever the turn before ended, with or without a line break. Source: timdettmers/openassistant-guanaco, 9,846 rows,
Apache-2.0, 35 languages, which the rows do not name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datamodules.sources.cued_text import Part, messages_from_cues
from datamodules.sources.source import FileSource
from kinnari.text.conversation import Message

CUE = re.compile(r"### (Human|Assistant):")
PARTS: Mapping[str, Part] = {"Human": "user", "Assistant": "assistant"}


@dataclass(frozen=True, kw_only=True)
class OpenAssistantGuanaco(FileSource):
    """Dialogues in one string."""

    name: str = "openassistant_guanaco"
    licence: str = "Apache-2.0"

    def convert(self, row: Any) -> tuple[Message, ...] | str:
        """The turns of `text`; a last question without an answer is left off."""
        text = row.get("text") if isinstance(row, dict) else row
        return messages_from_cues(text, CUE, PARTS)
