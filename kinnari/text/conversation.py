"""A conversation: what every raw row of every instruction source becomes first.

Conversation(
    messages=(Message("user", "Translate to Thai", context="Good morning"), Message("assistant", "สวัสดีตอนเช้า")),
    record_id="alpaca:17", source="alpaca", language="th", licence="CC-BY-NC-4.0",
)
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Message:
    """One turn. `context` is the passage a user turn refers to (the `input` of an alpaca row); empty when there is none."""

    role: Role
    content: str
    context: str = ""


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """A record ready to be rendered; `record_id` is unique within a run and names the record in every log and error."""

    messages: tuple[Message, ...]
    record_id: str
    source: str
    language: str
    licence: str

    @property
    def question(self) -> str:
        """The first user turn with its context, which is what train and held-out sets must not share."""
        first = next((m for m in self.messages if m.role == "user"), None)
        return f"{first.content}\n{first.context}" if first else ""

    def prompt(self) -> tuple[Message, ...]:
        """The messages before the last assistant turn: what the model is asked when it answers by itself."""
        last = max((i for i, m in enumerate(self.messages) if m.role == "assistant"), default=len(self.messages))
        return self.messages[:last]

    def reference(self) -> str:
        """The last assistant turn, the answer that `prompt()` leads to."""
        return next((m.content for m in reversed(self.messages) if m.role == "assistant"), "")


@dataclass(frozen=True, kw_only=True)
class Reject:
    """A row that could not become a conversation, kept with the place it came from so that nothing is lost silently."""

    source: str
    file: str
    line: int
    reason: str
    row: Any = None


def normalise_question(text: str) -> str:
    """Case, punctuation, width and spacing folded away, so that trivially different spellings of a question are one.

    Combining marks stay (Thai vowels and tones are marks: without them different words would fall together).
    """
    text = unicodedata.normalize("NFKC", text).casefold()
    kept = "".join(c if unicodedata.category(c)[0] in "LMN" else " " for c in text)
    # Text of punctuation alone would fold to nothing, and all such questions to one another.
    return re.sub(r"\s+", " ", kept).strip() or text.strip()
