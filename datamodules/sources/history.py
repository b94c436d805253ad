"""Questions that hold the whole dialogue before them, as messages:

"Human:你好\\nAssistant:你好！\\nHuman:天气如何？\\nAssistant:"  and apart from it the answer  "今天晴。"
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from datamodules.sources.cued_text import Part, split_at_cues
from datamodules.sources.turns import as_dialogue
from kinnari.text.conversation import Message


def messages_from_history(history: str, cue: re.Pattern[str], parts: Mapping[str, Part], answer: str) -> tuple[Message, ...] | str:
    """The dialogue of a history and the answer it leads to, or the reason why there is none.

    A passage (`context`) belongs to the next question; text before the first cue is the system message; a cue without text at the end only
    announces the answer.

    Args:
        cue: one group, the name of the cue.
        parts: name of the cue -> role of its message, or `context`.
    """
    lead, found = split_at_cues(history, cue)
    if found and not found[-1][1]:
        found.pop()
    messages = [Message("system", lead)] if lead else []
    passage: list[str] = []
    for number, (name, content) in enumerate(found, start=1):
        part = parts[name]
        if not content:
            return f"part {number} ({name}) of the history is empty"
        if part == "context":
            passage.append(content)
        else:
            messages.append(Message(part, content, context="\n\n".join(passage) if part == "user" else ""))
            passage = [] if part == "user" else passage
    if not messages or messages[-1].role != "user":
        return "the history does not end with a question"
    return as_dialogue([*messages, Message("assistant", answer)])
