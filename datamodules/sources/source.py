"""What every instruction source offers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from kinnari.text.conversation import Conversation, Reject


class Source(Protocol):
    """Raw rows of one origin, as conversations.

    Attributes:
        name: the option's name, the first part of every record id.
        licence: SPDX id, or the terms in a few words.
        limit: at most this many conversations are used, None for all.
        weight: passes over the source per epoch.
    """

    name: str
    licence: str
    limit: int | None
    weight: float

    def read(self) -> Iterator[Conversation | Reject]:
        """Conversations and rejected rows, in the order of the files."""
        ...

    def files(self) -> list[Path]:
        """The files that `read` reads, for the lineage."""
        ...
