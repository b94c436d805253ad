r"""Korquad-Chat: ChatGPT playing user and bot over a paragraph of KorQuAD, one string per row with a cue before each part,

    {"source": "korquad-chat", "text": "<sys>1984년 9월부터 덴노지 역 ...\n<usr> 어떤 열차인가요?\n<bot> 한와 라이너입니다."}

`<sys>` holds the paragraph (the context of the question); the files of open-korean-instructions put it behind the question. Where the two
call each other by name the text has `<|bot|>` and `<|user|>`, which some tokenizers take for special tokens.
Source: heegyu/korquad-chat-v1, 9.6k rows, MIT.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from datamodules.sources.cued_text import Part, messages_from_cues
from datamodules.sources.source import FileSource
from kinnari.text.conversation import Message

CUE = re.compile(r"(?:\A|(?<=\n))[ \t]{0,8}<(sys|usr|bot)>")
PARTS: Mapping[str, Part] = {"sys": "context", "usr": "user", "bot": "assistant"}


@dataclass(frozen=True, kw_only=True)
class KorquadChat(FileSource):
    """Dialogues about a paragraph.

    Args:
        names: what stands in for the two names.
    """

    names: Mapping[str, str] = field(default_factory=lambda: {"<|bot|>": "봇", "<|user|>": "유저"})
    name: str = "korquad_chat"
    language: str = "ko"
    licence: str = "MIT"

    def convert(self, row: Any) -> tuple[Message, ...] | str:
        """The turns of `text`."""
        text = row.get("text") if isinstance(row, dict) else row
        if isinstance(text, str):
            for placeholder, spoken in self.names.items():
                text = text.replace(placeholder, spoken)
            text = text.strip()
        return messages_from_cues(text, CUE, PARTS)
