r"""Dialogues in one string whose turns begin with cues:

    "<human>: แต่งกลอนจากวรรคนี้ <context>:พอออกเรือเมื่อตวันสายัณห์ย่ำ <bot>:ลอองน้ำค้างย้อยเปนฝอยฝน"
    "### Human: Hello### Assistant: Hi, how can I help?"

A pattern finds the cues, its first group is the name of the cue, and a table says which role that is. A passage may be such a part too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from datamodules.sources.turns import as_dialogue
from kinnari.text.conversation import Message, Role

Part = Role | Literal["context"]


def split_at_cues(text: str, cue: re.Pattern[str]) -> tuple[str, list[tuple[str, str]]]:
    """(text before the first cue, [(name of the cue, text up to the next one)]), every text stripped."""
    lead, *rest = cue.split(text)
    return lead.strip(), [(name, part.strip()) for name, part in zip(rest[::2], rest[1::2], strict=True)]


def messages_from_cues(text: Any, cue: re.Pattern[str], parts: Mapping[str, Part]) -> tuple[Message, ...] | str:
    """The messages of a text with cues, or the reason why it holds no dialogue.

    A passage (`context`) belongs to the question before it, and where there is none, to the next one.

    Args:
        text: a decoded value of any type.
        cue: one group, the name of the cue.
        parts: name of the cue -> role of its message, or `context`.
    """
    if not isinstance(text, str):
        return f"the dialogue must be text, it is {'missing' if text is None else 'a ' + type(text).__name__}"
    lead, found = split_at_cues(text, cue)
    if not found:
        return f"none of the cues ({', '.join(parts)}) is in the text"
    if lead:
        return f"there is text before the first cue: {lead[:40]!r}"
    messages: list[Message] = []
    passage = ""
    for number, (name, content) in enumerate(found, start=1):
        part = parts[name]
        if part == "context":
            if messages and messages[-1].role == "user":
                messages[-1] = replace(messages[-1], context=_joined(messages[-1].context, content))
            else:
                passage = _joined(passage, content)
        elif not content:
            return f"part {number} ({name}) is empty"
        else:
            messages.append(Message(part, content, context=passage if part == "user" else ""))
            passage = "" if part == "user" else passage
    return as_dialogue(messages)


def _joined(first: str, second: str) -> str:
    return f"{first}\n\n{second}" if first and second else first or second
