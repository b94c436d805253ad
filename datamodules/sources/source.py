"""What every instruction source offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datamodules.reading import Row, data_files, read_rows, shown
from kinnari.errors import ConfigError
from kinnari.text.conversation import Conversation, Message, Reject


@dataclass(frozen=True, kw_only=True)
class Source(ABC):
    """Raw rows of one origin, as conversations.

    Attributes:
        name: the option's name, the first part of every record id.
        language: of the answers, ISO 639-1; empty to have it told from each text.
        licence: SPDX id, or the terms in a few words.
        limit: at most this many conversations, drawn after `steps`; None for all.
        limit_seed: of that draw, `numpy.random.RandomState(limit_seed).choice`, which is what pandas' `sample` draws; None
            takes the seed of the run.
        weight: passes over the source per epoch.
        steps: cleaning steps of this source alone, name -> step, before those of `cleaning=`.
    """

    name: str
    language: str = ""
    licence: str = "unknown"
    limit: int | None = None
    limit_seed: int | None = None
    weight: float = 1.0
    steps: Mapping[str, Any] = field(default_factory=dict)

    @abstractmethod
    def files(self) -> list[Path]:
        """The local files that `read` reads, for lineage and cache; empty for a hub dataset.

        Raises:
            ConfigError: if there are none; the message says where they are to be had.
        """

    @abstractmethod
    def read(self) -> Iterator[Conversation | Reject]:
        """Conversations and rejected rows, one at a time, in the order of the files; never a whole file in memory."""


@dataclass(frozen=True, kw_only=True)
class FileSource(Source):
    """A source whose rows become conversations one by one.

    Args:
        path: a file (json, jsonl, csv, tsv, parquet, arrow, txt; .gz, .bz2, .xz as well), a folder of such files, a list of files and
            folders, or the name of a hub dataset.
        split, subset: of the hub dataset.
    """

    path: str | Sequence[str]
    split: str = "train"
    subset: str | None = None

    @abstractmethod
    def convert(self, row: Any) -> tuple[Message, ...] | str:
        """The messages of a decoded row of any type, or the reason why it is not a row of this source."""

    def files(self) -> list[Path]:
        """The local files behind `path`."""
        return data_files(self.path)

    def rows(self) -> Iterator[tuple[str, Row]]:
        """(file, row) of everything behind `path`."""
        return read_rows(self.path, split=self.split, subset=self.subset)

    def read(self) -> Iterator[Conversation | Reject]:
        """One conversation per row; `record_id` counts rows, rejected ones as well."""
        for number, (file, row) in enumerate(self.rows()):
            result = row.error or self.convert(row.value)
            if isinstance(result, str):
                yield Reject(source=self.name, file=file, line=row.line, reason=result, row=shown(row.value))
                continue
            yield Conversation(
                messages=result,
                record_id=f"{self.name}:{number}",
                source=self.name,
                language=self.row_language(row.value),
                licence=self.licence,
            )

    def row_language(self, row: Any) -> str:
        """Language of one row; that of the source unless a source knows better."""
        return self.language


def one_place(name: str, path: str | Sequence[str]) -> None:
    """Refuse a list of paths, for a source whose files are told from their places in a folder.

    Raises:
        ConfigError: it is one.
    """
    if not isinstance(path, str):
        raise ConfigError(f"data.{name}.path={list(path)} must be one file or folder: what its files hold is told from where they lie.")
