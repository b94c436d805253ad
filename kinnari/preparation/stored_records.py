"""Tokenised records that stay on disk: memory-mapped, in whatever choice and order, shared by all processes that read them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kinnari.functional.labels import IGNORED
from kinnari.preparation.conversations import BatchedRows, open_batches
from kinnari.preparation.reading import REJECTS
from kinnari.preparation.tokenising import TOKENS
from kinnari.text.records import TokenizedRecords


class TokenFile:
    """The Arrow file of tokens: views of its ids and labels, nothing copied."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows = BatchedRows(open_batches(folder / TOKENS))
        self._ids = [self._lists(batch, "input_ids") for batch in self.rows.batches]
        self._labels = [self._lists(batch, "labels") for batch in self.rows.batches]
        self.lengths = _joined([np.diff(offsets) for offsets, _ in self._ids], np.int64)
        self.trained_counts = self.numbers("trained_tokens").astype(np.int64)
        self.cut = self.numbers("cut").astype(bool)
        self.conversation = self.numbers("conversation")

    @staticmethod
    def _lists(batch: pa.RecordBatch, name: str) -> tuple[np.ndarray, np.ndarray]:
        column = batch.column(name)
        return column.offsets.to_numpy(), column.values.to_numpy()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def later_parts(self) -> np.ndarray:
        """Whether a row goes on with the conversation of the row before, [rows] bool: parts of what was split."""
        return np.concatenate([[False], self.conversation[1:] == self.conversation[:-1]])[: len(self)]

    def numbers(self, name: str) -> np.ndarray:
        """A column of numbers, [rows]."""
        return _joined([b.column(name).to_numpy(zero_copy_only=False) for b in self.rows.batches], np.int64)

    def codes(self, name: str) -> tuple[np.ndarray, list[str]]:
        """A column of names that occur often: ([rows] int32 of places in the list, the list)."""
        column = pc.dictionary_encode(pa.chunked_array([b.column(name) for b in self.rows.batches], pa.string())).unify_dictionaries()
        names = column.chunk(0).dictionary.to_pylist() if column.num_chunks else []
        return _joined([chunk.indices.to_numpy() for chunk in column.chunks], np.int32), names

    def text(self, name: str, row: int) -> str:
        """One string."""
        number, local = self.rows.locate(row)
        return self.rows.batches[number].column(name)[local].as_py()

    def texts(self, name: str, rows: np.ndarray) -> Iterator[str]:
        """The strings of many rows."""
        for piece in self.rows.pieces(rows):
            yield from piece.column(name).to_pylist()

    def record(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids [T] int32 and labels [T] int32, -100 where not trained; read-only views."""
        number, local = self.rows.locate(row)
        offsets, ids = self._ids[number]
        span = slice(offsets[local], offsets[local + 1])
        return ids[span], self._labels[number][1][span]


def _joined(parts: list[np.ndarray], dtype: Any) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0, dtype)


class Texts(Sequence[str]):
    """A column of the chosen rows as a sequence of strings."""

    def __init__(self, file: TokenFile, name: str, members: np.ndarray) -> None:
        self.file, self.name, self.members = file, name, members

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return list(self.file.texts(self.name, self.members[index]))
        return self.file.text(self.name, int(self.members[index]))

    def __iter__(self) -> Iterator[str]:
        return self.file.texts(self.name, self.members)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]


class Names(Sequence[str]):
    """A column of few different strings: codes [N] int32 and what they stand for."""

    def __init__(self, codes: np.ndarray, names: list[str]) -> None:
        self.codes, self.names = codes, names

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self.names[code] for code in self.codes[index]]
        return self.names[self.codes[index]]

    def __iter__(self) -> Iterator[str]:
        return map(self.names.__getitem__, self.codes.tolist())

    def count(self, value: Any) -> int:
        """How often a name occurs."""
        return int(self.mask(value).sum())

    def mask(self, value: str) -> np.ndarray:
        """Where a name stands, [N] bool."""
        return self.codes == (self.names.index(value) if value in self.names else -1)

    def counts(self) -> Counter[str]:
        """How often each occurs."""
        numbers = np.bincount(self.codes, minlength=len(self.names)).tolist()
        return Counter({name: number for name, number in zip(self.names, numbers, strict=True) if number})


class StoredRecords(TokenizedRecords):
    """Some rows of a token file as records of a training run.

    Args:
        file: the tokens of all conversations.
        members: rows of the file, [N] int64, in the order of the records.
        dropped_numbers: the conversations of this side of the split of which nothing can be trained.
    """

    def __init__(self, file: TokenFile, members: np.ndarray, dropped_numbers: np.ndarray) -> None:
        self.file, self.members = file, members
        self.record_ids = Texts(file, "record_id", members)
        self.num_cut = int(file.cut[members].sum())
        self.num_dropped = len(dropped_numbers)
        self._dropped_numbers = dropped_numbers

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids [T] int32 (a read-only view of the file) and trained [T] bool of record i."""
        ids, labels = self.file.record(int(self.members[i]))
        return ids, labels != IGNORED

    @cached_property
    def sources(self) -> Names:  # type: ignore[override]
        """Name of each record's source."""
        return self._names("source")

    @cached_property
    def languages(self) -> Names:
        """ISO 639-1 of each record; empty where it cannot be told."""
        return self._names("language")

    def _names(self, column: str) -> Names:
        codes, names = self.file.codes(column)
        return Names(codes[self.members], names)

    @property
    def conversations(self) -> np.ndarray:
        """Number of each record's conversation among the cleaned ones, [N] int64."""
        return self.file.conversation[self.members]

    @cached_property
    def lengths(self) -> np.ndarray:  # type: ignore[override]
        """Tokens per record, [N] int64."""
        return self.file.lengths[self.members].astype(np.int64)

    @cached_property
    def trained_counts(self) -> np.ndarray:  # type: ignore[override]
        """Trained tokens per record, [N] int64."""
        return self.file.trained_counts[self.members]

    @cached_property
    def dropped(self) -> dict[str, str]:  # type: ignore[override]
        """Record id -> why nothing of it can be trained."""
        numbers = np.load(self.file.folder / "dropped.npy")
        mine = np.isin(numbers, self._dropped_numbers)
        with open(self.file.folder / REJECTS, encoding="utf-8") as lines:
            values = [json.loads(line) for line, belongs in zip(lines, mine, strict=True) if belongs]
        return {row["record_id"]: row["reason"] for row in values}
