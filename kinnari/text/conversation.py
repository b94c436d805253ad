"""A conversation: what every raw row of every instruction source becomes first.

Conversation(
    messages=(Message("user", "Translate to Thai", context="Good morning"), Message("assistant", "สวัสดีตอนเช้า")),
    record_id="alpaca:17", source="alpaca", language="th", licence="CC-BY-NC-4.0",
)
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Message:
    """One turn.

    Attributes:
        context: the passage a user turn refers to (the `input` of an alpaca row); empty when there is none.
        trained: whether the loss covers this turn, whatever `loss_on` says; None leaves it to `loss_on`.
    """

    role: Role
    content: str
    context: str = ""
    trained: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """A record ready to be rendered.

    Attributes:
        record_id: unique within a run; names the record in every log and error.
        language: ISO 639-1 of the answers; empty where the source cannot know, and then told from the text.
    """

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
    """A row that is not trained on, kept with the place it came from so that nothing is lost silently.

    Attributes:
        line: where the row begins, 1-based; 0 where a file has no lines.
        step: what took it out: `read`, or the name of a cleaning step.
        row: the row, shortened; a whole `Conversation` as a dict where a cleaning step took it out.
    """

    source: str
    file: str
    line: int
    reason: str
    row: Any = None
    step: str = "read"


def normalise_question(text: str) -> str:
    """Case, punctuation, width and spacing folded away, so that trivially different spellings of a question are one.

    Combining marks stay (Thai vowels and tones are marks: without them different words would fall together).
    """
    text = unicodedata.normalize("NFKC", text).casefold()
    # Text of punctuation alone would fold to nothing, and all such questions to one another.
    return " ".join(text.translate(_FOLDED).split()) or text.strip()


class _Folded(dict[int, str]):
    """Letters, marks and numbers as they are, everything else a space; looked up once per character that occurs."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        self[code] = character if unicodedata.category(character)[0] in "LMN" else " "
        return self[code]


_FOLDED = _Folded()
