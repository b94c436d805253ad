"""Chats in the layout of llamatune, a json list of conversations, each a list of

    [{"role": "SYSTEM", "content": "Be friendly."}, {"role": "USER", "content": "Hi"}, {"role": "ASSISTANT", "content": "Hey!"}]

The system message is optional. The format's rules: an answer never comes first, and one comes last; rows that break them are mended
(answers before the first question and questions after the last answer are left off). Source of the format: llamatune 0.4, README.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from datamodules.sources.source import FileSource
from datamodules.sources.turns import messages_from_turns
from kinnari.text.conversation import Message


@dataclass(frozen=True, kw_only=True)
class LlamaTune(FileSource):
    """Lists of messages with roles in capitals."""

    name: str = "llamatune"

    def convert(self, row: Any) -> tuple[Message, ...] | str:
        """The messages of a list, or of an object that holds it as `messages` or `conversation`."""
        if isinstance(row, dict):
            row = row.get("messages", row.get("conversation"))
        return messages_from_turns(row, "role", "content")
