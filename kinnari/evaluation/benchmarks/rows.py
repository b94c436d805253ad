"""Rows of a benchmark's files, each with the place it came from, so that what is wrong with one can be said.

json (a list), jsonl (also under the name .json, as CLUE publishes it), csv, tsv; UTF-8 with or without a byte order mark.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinnari.errors import ConfigError

LONGEST_FIELD = 2**30  # of a csv file; Python's own limit of 131,072 is below what contexts can have
ENDINGS = (".json", ".jsonl", ".csv", ".tsv")


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        value: column -> content.
        place: file and line (of a json list: file and item), for messages.
        number: from 1, of the line or item.
    """

    value: Mapping[str, Any]
    place: str
    number: int

    def text(self, column: str) -> str:
        """The text in a column; a number as its decimal digits.

        Raises:
            ConfigError: there is no such column, or it holds something else.
        """
        value = self.get(column)
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise self.wrong(f"column {column!r} holds {_shown(value)}, where a text must be")
        return value if isinstance(value, str) else str(value)

    def texts(self, column: str) -> tuple[str, ...]:
        """The list of texts in a column.

        Raises:
            ConfigError: there is no such column, or it holds something else.
        """
        value = self.get(column)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.wrong(f"column {column!r} holds {_shown(value)}, where a list of texts must be")
        return tuple(value)

    def get(self, column: str) -> Any:
        """What a column holds.

        Raises:
            ConfigError: there is no such column.
        """
        if column not in self.value:
            raise self.wrong(f"has no column {column!r}; its columns: {', '.join(map(str, self.value)) or 'none'}")
        return self.value[column]

    def key(self, column: str) -> str | None:
        """A class or an id as text; None where the column is missing or empty, as in unlabelled test files."""
        value = self.value.get(column)
        return None if value is None or value == "" else str(value).lower() if isinstance(value, bool) else str(value)

    def wrong(self, problem: str) -> ConfigError:
        """The error that says where and what."""
        return ConfigError(f"{self.place}: {problem}. Mend or remove the row, or give a file in the benchmark's published layout.")


def read_rows(path: Path) -> list[Row]:
    """All rows of a file, in its order; empty lines are no rows.

    Raises:
        ConfigError: the file cannot be read, or a line is no json object.
    """
    text = read_text(path)
    if path.suffix.lower() in (".csv", ".tsv"):
        return _tables(path, text)
    if path.suffix.lower() not in ENDINGS:
        raise ConfigError(f"{path}: a benchmark's file must end in {', '.join(ENDINGS)}.")
    if text.lstrip().startswith("["):
        return [_row(value, f"{path} item {number}", number) for number, value in enumerate(_parsed(text, str(path)), 1)]
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    return [_row(_parsed(line, f"{path} line {number}"), f"{path} line {number}", number) for number, line in lines]


def read_json(path: Path) -> Any:
    """The one json value of a file.

    Raises:
        ConfigError: the file cannot be read, or holds no json.
    """
    return _parsed(read_text(path), str(path))


def read_cells(path: Path) -> list[list[str]]:
    """Rows of a csv file that may have no header, as lists of cells; empty lines left out.

    Raises:
        ConfigError: the file cannot be read.
    """
    csv.field_size_limit(LONGEST_FIELD)
    try:
        return [cells for cells in csv.reader(io.StringIO(read_text(path), newline="")) if any(cells)]
    except csv.Error as problem:
        raise ConfigError(f"{path} cannot be read as csv: {problem}. It must be whole and in UTF-8.") from None


def read_text(path: Path) -> str:
    """What a file holds, without a byte order mark.

    Raises:
        ConfigError: there is no such file, or it is not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigError(f"{path} cannot be read: {problem}. A benchmark's file must be whole and in UTF-8.") from None


def _tables(path: Path, text: str) -> list[Row]:
    csv.field_size_limit(LONGEST_FIELD)
    # Published tsv files (XNLI, KorNLI) hold quotation marks that quote nothing.
    tab = path.suffix.lower() == ".tsv"
    reader = csv.reader(io.StringIO(text, newline=""), delimiter="\t" if tab else ",", quoting=csv.QUOTE_NONE if tab else csv.QUOTE_MINIMAL)
    rows = []
    header: list[str] | None = None
    try:
        for cells in reader:
            if not any(cells):
                continue
            if header is None:
                header = [cell.strip() for cell in cells]
                continue
            place = f"{path} line {reader.line_num}"
            if len(cells) != len(header):
                raise ConfigError(f"{place}: {len(cells)} cells under {len(header)} columns ({', '.join(header)}). Mend or remove the row.")
            rows.append(Row(dict(zip(header, cells, strict=True)), place, reader.line_num))
    except csv.Error as problem:
        raise ConfigError(f"{path} line {reader.line_num} cannot be read as csv: {problem}. The file must be whole and in UTF-8.") from None
    return rows


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise ConfigError(f"{place} is no json: {problem}. The file must be whole, a json list or one json object per line.") from None


def _row(value: Any, place: str, number: int) -> Row:
    if not isinstance(value, dict):
        raise ConfigError(f"{place} holds {_shown(value)}, where a json object must be. Give a file in the benchmark's published layout.")
    return Row(value, place, number)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
