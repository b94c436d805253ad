"""Sources and settings for the tests of preparation: everything small, nothing from a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.sources.source import Source
from kinnari.cleaning.step import RowStep, SetStep
from kinnari.models.toy import byte_tokenizer
from kinnari.preparation.pipeline import Encoding, Prepared, prepare
from kinnari.preparation.splitting import HeldOut
from kinnari.preparation.store import Store
from kinnari.text.conversation import Conversation, Message, Reject
from kinnari.text.truncation import Limits
from tests.kinnari.text.test_template import chatml


def talk(*turns: str, record_id: str = "a:0", source: str = "a", language: str = "en") -> Conversation:
    messages = tuple(Message("assistant" if i % 2 else "user", turn) for i, turn in enumerate(turns))
    return Conversation(messages=messages, record_id=record_id, source=source, language=language, licence="MIT")


@dataclass(frozen=True, kw_only=True)
class Fake(Source):
    """`count` questions with an answer each, every `bad`-th row rejected; `file` makes it one whose rows are known by content."""

    name: str = "a"
    count: int = 10
    bad: int = 0
    language: str = "en"
    licence: str = "MIT"
    answer: str = "Answer"
    file: Path | None = None

    def files(self) -> list[Path]:
        return [] if self.file is None else [self.file]

    def read(self) -> Iterator[Conversation | Reject]:
        for i in range(self.count):
            if self.bad and i % self.bad == 0:
                yield Reject(source=self.name, file="f.json", line=i + 1, reason="broken", row="{")
            else:
                yield talk(f"{self.name} asks {i}", f"{self.answer} {i}", record_id=f"{self.name}:{i}", source=self.name)


@dataclass(frozen=True)
class Without(RowStep):
    """Takes out conversations whose first question holds a text."""

    text: str

    def __call__(self, conversation: Conversation) -> Conversation | str:
        return f"asks about {self.text}" if self.text in conversation.question else conversation


@dataclass(frozen=True)
class Shout(RowStep):
    """Answers in capitals."""

    def __call__(self, conversation: Conversation) -> Conversation | str:
        messages = tuple(Message(m.role, m.content.upper() if m.role == "assistant" else m.content) for m in conversation.messages)
        return Conversation(**(vars(conversation) | {"messages": messages}))  # type: ignore[arg-type]


@dataclass(frozen=True)
class LastDigit(SetStep):
    """One conversation per last character of the answer: the first."""

    def signature(self, conversation: Conversation) -> np.ndarray:
        return np.array([ord(conversation.reference()[-1])], dtype=np.uint64)

    def duplicate_of(self, signatures: np.ndarray) -> np.ndarray:
        first: dict[int, int] = {}
        return np.array([-1 if first.setdefault(int(s), i) == i else first[int(s)] for i, (s,) in enumerate(signatures)], dtype=np.int64)


def encoding(max_length: int = 128, **changes: Any) -> Encoding:
    limits = changes.pop("limits", None) or Limits(max_length, truncation="drop" if changes.pop("drop", False) else "tail")
    return Encoding(tokenizer=byte_tokenizer(), template=changes.pop("template", chatml()), limits=limits, **changes)


def run(*sources: Source, steps: dict | None = None, store: Store | None = None, **changes: Any) -> Prepared:
    """`prepare` with settings that a test does not care about."""
    sizes = {"fraction": changes.pop("fraction", 0.2), "most": changes.pop("most", 100)}
    held_out = HeldOut(**sizes, seed=0, near_duplicates=changes.pop("near", None))
    tokens = changes.pop("encoding", None) or encoding()
    return prepare(sources, steps or {}, held_out, tokens, store or Store(), **({"show": False, "seed": 0, "workers": 1} | changes))
