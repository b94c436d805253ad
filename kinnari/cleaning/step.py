"""What a cleaning step is: one named rule over conversations, alone or among all others.

    RowStep    conversation -> conversation (kept, perhaps changed) | str (why it goes)       runs in worker processes
    SetStep    signatures of all conversations, in order -> for each: -1, or the index of the record that makes it superfluous

A step is a frozen dataclass of plain values (so it can be hashed for the cache and pickled for workers) and deterministic.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from kinnari.text.conversation import Conversation


class RowStep(Protocol):
    """A rule that looks at one conversation."""

    def __call__(self, conversation: Conversation) -> Conversation | str:
        """The conversation as it goes on, or the reason why it does not; never raises for odd text."""
        ...


class SetStep(Protocol):
    """A rule that compares conversations with one another."""

    def signature(self, conversation: Conversation) -> np.ndarray:
        """What is to be compared, [K] uint64 with the same K for every conversation; computed in worker processes."""
        ...

    def duplicate_of(self, signatures: np.ndarray) -> np.ndarray:
        """From signatures [N, K] in the order of the data: [N] int64, -1 for a kept record, else the earlier record's index."""
        ...
