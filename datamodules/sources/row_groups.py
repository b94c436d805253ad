"""Sources in which several rows make one conversation (a row per message), or one row several (a tree of replies).

rows in a run that belong together  ->  Found(messages) ..., Refused(reason, row) ...
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from datamodules.reading import Row, shown
from datamodules.sources.source import FileSource
from kinnari.text.conversation import Conversation, Message, Reject

LONGEST = 50_000  # rows of one group; a file with the same key in every row would else be held in memory whole


@dataclass(frozen=True)
class Found:
    """A conversation and its language; empty for that of the source."""

    messages: tuple[Message, ...]
    language: str = ""


@dataclass(frozen=True)
class Refused:
    """What of a group is left out and why; `row` is shown with it."""

    reason: str
    row: Any


@dataclass(frozen=True, kw_only=True)
class GroupedFileSource(FileSource):
    """A source whose conversations are found in groups of rows that follow one another in a file."""

    @abstractmethod
    def same_group(self, previous: Any, row: Any) -> bool:
        """Whether a decoded row belongs to the group of the row before it."""

    @abstractmethod
    def found(self, rows: list[Any]) -> Iterator[Found | Refused]:
        """The conversations in a group of decoded rows of any type."""

    def convert(self, row: Any) -> tuple[Message, ...] | str:
        """The first conversation of a single row."""
        for item in self.found([row]):
            return item.messages if isinstance(item, Found) else item.reason
        return "there is no conversation in the row"

    def read(self) -> Iterator[Conversation | Reject]:
        """The conversations of each group; `record_id` counts groups, and conversations within one."""
        for number, (file, rows) in enumerate(self._groups()):
            if rows[0].error:
                yield Reject(source=self.name, file=file, line=rows[0].line, reason=rows[0].error, row=shown(rows[0].value))
                continue
            for position, item in enumerate(self.found([row.value for row in rows])):
                if isinstance(item, Refused):
                    yield Reject(source=self.name, file=file, line=rows[0].line, reason=item.reason, row=shown(item.row))
                    continue
                yield Conversation(
                    messages=item.messages,
                    record_id=f"{self.name}:{number}:{position}",
                    source=self.name,
                    language=item.language or self.language,
                    licence=self.licence,
                )

    def _groups(self) -> Iterator[tuple[str, list[Row]]]:
        """Runs of rows of one file that belong together; a broken row is a group of its own and ends the one before it."""
        group: list[Row] = []
        group_file = ""
        for file, row in self.rows():
            joins = group and file == group_file and not row.error and not group[-1].error and len(group) < LONGEST
            if not (joins and self.same_group(group[-1].value, row.value)):
                if group:
                    yield group_file, group
                group, group_file = [], file
            group.append(row)
        if group:
            yield group_file, group
