"""Text with the cues of OIG and WangChanGLM, as messages:

    "<context>: Bangkok is the capital.\\n<human>: Which city is it?\\n<bot>: Bangkok.\\n<human>: Of which country?\\n<bot>: Thailand."
    "<human>: Which city is it? <context>: Bangkok is the capital. <bot>: Bangkok."     an older form, all on one line

Cues count at the beginning of a line; only in a text that has no answer there, anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from datamodules.sources.cued_text import Part, messages_from_cues
from kinnari.text.conversation import Message

PARTS: Mapping[str, Part] = {"context": "context", "human": "user", "bot": "assistant"}
LINE_CUE = re.compile(r"^[ \t]*<(context|human|bot)>:", re.MULTILINE)
ANY_CUE = re.compile(r"(?:^|(?<=\s))<(context|human|bot)>:")
_BOT_LINE = re.compile(r"^[ \t]*<bot>:", re.MULTILINE)


def messages_from_wangchan(text: Any) -> tuple[Message, ...] | str:
    """The messages of a decoded value of any type, or the reason why it holds no dialogue."""
    by_line = isinstance(text, str) and _BOT_LINE.search(text) is not None
    return messages_from_cues(text, LINE_CUE if by_line else ANY_CUE, PARTS)
