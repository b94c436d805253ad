"""Thai poems: the next lines of a klon from its first, json lines of

    {"text": "<human>: แต่งกลอนแปดจากวรรคนี้ <context>:พอออกเรือเมื่อตวันสายัณห์ย่ำ <bot>:ลอองน้ำค้างย้อยเปนฝอยฝน ...", "source": "นิราศเจ้าฟ้า"}

The cues of WangChanGLM, here on one line; its other order, `<context>: .. <human>: .. <bot>: ..` on three lines, is read as well. Rows
without the bot's cue have nothing to learn from. Source: pythainlp/klongklon, 54k rows, MIT.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from datamodules.sources.source import FileSource
from datamodules.sources.wangchan_text import messages_from_wangchan
from kinnari.text.conversation import Message


@dataclass(frozen=True, kw_only=True)
class KlongKlon(FileSource):
    """Poems to be gone on with."""

    name: str = "klongklon"
    language: str = "th"
    licence: str = "MIT"

    def convert(self, row: Any) -> tuple[Message, ...] | str:
        """The instruction, the line to begin with as its context, and the lines that follow."""
        text = row.get("text") if isinstance(row, dict) else row
        if isinstance(text, str) and "<bot>" not in text:
            return "the cue <bot>: is missing: there is no answer"
        return messages_from_wangchan(text)
