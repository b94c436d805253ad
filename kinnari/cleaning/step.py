"""What a cleaning step is: one named rule over conversations, alone or among all others.

    RowStep    conversation -> conversation (kept, perhaps changed) | str (why it goes)       runs in worker processes
    SetStep    signatures of all conversations, in order -> for each: -1, or the index of the record that makes it superfluous

A step is a frozen dataclass of plain values, so that it can be pickled for workers and its fingerprint hashed for the cache; and it
is deterministic: the same conversation has the same fate in whatever process, at whatever place in the data.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from kinnari.text.conversation import Conversation


class Step(ABC):  # noqa: B024 - what is abstract differs between the two kinds
    """What both kinds have. Lists and mappings of a configuration become tuples and dicts, whatever type they arrive in."""

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]  # every step is a dataclass
            object.__setattr__(self, field.name, _plain(getattr(self, field.name)))

    @property
    def fingerprint(self) -> str:
        """All that decides what the step does, in one line: class and parameters; a step that reads files adds their hashes."""
        return f"{type(self).__module__}.{self!r}"


class RowStep(Step):
    """A rule that looks at one conversation."""

    @abstractmethod
    def __call__(self, conversation: Conversation) -> Conversation | str:
        """The conversation as it goes on, or the reason why it does not; never raises for odd text."""


class SetStep(Step):
    """A rule that compares conversations with one another."""

    @abstractmethod
    def signature(self, conversation: Conversation) -> np.ndarray:
        """What is to be compared, [K] uint64 with the same K for every conversation; computed in worker processes."""

    @abstractmethod
    def duplicate_of(self, signatures: np.ndarray) -> np.ndarray:
        """From signatures [N, K] in the order of the data: [N] int64, -1 for a kept record, else the earlier record's index."""


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return tuple(_plain(inner) for inner in value)
    return value
