"""Tokenised records, ready to be batched: what batches need to know of them, and the kind that lies in memory.

Those of a training run stay on disk, see `kinnari.preparation.stored_records`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Tokens:
    """One record: ids and whether each is a training target, both of length T; `cut` if it was longer than allowed."""

    input_ids: Sequence[int] | np.ndarray
    trained: Sequence[bool] | np.ndarray
    cut: bool = False


class TokenizedRecords(ABC):
    """N records by number.

    Attributes:
        record_ids, sources: N names each.
        num_cut: records that lost tokens to a limit.
        dropped: record id -> why nothing of a conversation can be trained; these are not among the N.
    """

    record_ids: Sequence[str]
    sources: Sequence[str]
    num_cut: int
    dropped: dict[str, str]

    @abstractmethod
    def __len__(self) -> int:
        """N."""

    @abstractmethod
    def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids [T] int32 and trained [T] bool of record i."""

    @property
    @abstractmethod
    def lengths(self) -> np.ndarray:
        """Tokens per record, [N] int64."""

    @property
    @abstractmethod
    def trained_counts(self) -> np.ndarray:
        """Trained tokens per record, [N] int64; the first token of a record has no predecessor and is never a target."""


@dataclass
class FlatRecords(TokenizedRecords):
    """Records end to end in flat arrays; record i is `flat_ids[offsets[i]:offsets[i+1]]`, and can be changed there."""

    flat_ids: np.ndarray
    flat_trained: np.ndarray
    offsets: np.ndarray
    record_ids: list[str]
    sources: list[str]
    num_cut: int = 0
    dropped: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.record_ids)

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids [T] int32 and trained [T] bool of record i."""
        span = slice(self.offsets[i], self.offsets[i + 1])
        return self.flat_ids[span], self.flat_trained[span]

    @property
    def lengths(self) -> np.ndarray:
        """Tokens per record, [N] int64."""
        return np.diff(self.offsets)

    @property
    def trained_counts(self) -> np.ndarray:
        """Trained tokens per record, [N] int64; the first token of a record has no predecessor and is never a target."""
        sums = np.concatenate([[0], np.cumsum(self.flat_trained)])
        return sums[self.offsets[1:]] - sums[self.offsets[:-1]]


def flatten(kept: list[Tokens], ids: list[str], sources: list[str], dropped: dict[str, str]) -> FlatRecords:
    """Lay records end to end."""
    lengths = [len(t.input_ids) for t in kept]
    trained = [np.asarray(t.trained, dtype=bool) for t in kept]
    for flags in trained:
        flags[:1] = False
    return FlatRecords(
        flat_ids=np.concatenate([np.asarray(t.input_ids, dtype=np.int32) for t in kept]) if kept else np.zeros(0, np.int32),
        flat_trained=np.concatenate(trained) if kept else np.zeros(0, bool),
        offsets=np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64),
        record_ids=ids,
        sources=sources,
        num_cut=sum(t.cut for t in kept),
        dropped=dropped,
    )
