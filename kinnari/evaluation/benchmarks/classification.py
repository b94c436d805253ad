"""Benchmarks whose questions share their classes, each with a word that stands for it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from kinnari.evaluation.benchmarks.choice_benchmark import ChoiceBenchmark
from kinnari.evaluation.benchmarks.prompt_form import PromptForm
from kinnari.evaluation.benchmarks.rows import Row, read_rows
from kinnari.evaluation.question import Question


@dataclass(frozen=True, kw_only=True)
class Classification(ChoiceBenchmark):
    """A benchmark of classes; a subclass gives the wordings and the fields of a row."""

    label_column: ClassVar[str] = "label"
    id_column: ClassVar[str] = "id"
    skipped_labels: ClassVar[tuple[str, ...]] = ()  # of rows that are no questions

    @abstractmethod
    def fields(self, row: Row) -> dict[str, str]:
        """What the wordings name, out of a row.

        Raises:
            ConfigError: a column is missing.
        """

    def read(self, file: Path, form: PromptForm) -> list[Question]:
        """A question per row."""
        rows = self._rows(file)
        ids = row_ids(rows, self.id_column)
        return [self.question(row, name, form) for row, name in zip(rows, ids, strict=True)]

    def pool(self, file: Path, form: PromptForm) -> Iterator[Question]:
        """The same, one after the other: training files are large, and few of them become shots."""
        return (self.question(row, str(row.number), form) for row in self._rows(file))

    def _rows(self, file: Path) -> list[Row]:
        return [row for row in read_rows(file) if row.key(self.label_column) not in self.skipped_labels]

    def question(self, row: Row, name: str, form: PromptForm) -> Question:
        """One row as a question with all classes for candidates."""
        classes = tuple(form.words)
        return Question(
            id=name, candidates=form.candidates(self.fields(row)), gold=gold_class(row, self.label_of(row), form.words), labels=classes
        )

    def label_of(self, row: Row) -> str | None:
        """The class of a row; None where it has none."""
        return row.key(self.label_column)


def gold_class(row: Row, label: str | None, words: Mapping[str, str]) -> int | None:
    """Index of a class among `words`; None without one.

    Raises:
        ConfigError: there is no such class.
    """
    if label is None:
        return None
    if label not in words:
        raise row.wrong(f"label {label!r} is none of {', '.join(words)}")
    return list(words).index(label)


def row_ids(rows: list[Row], column: str) -> list[str]:
    """The file's own ids where every row has one of its own, else the numbers of the rows."""
    own = [row.key(column) for row in rows]
    unique = None not in own and len(set(own)) == len(own)
    return [str(name) for name in own] if unique else [str(row.number) for row in rows]
