"""Rows of csv, tsv, jsonl and json files, whole or not at all: for files whose every row is answered, judged or counted.

Spreadsheet programs begin UTF-8 files with a byte order mark; it is passed over, and written where they are to open the file.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kinnari.errors import ConfigError

DELIMITERS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (*DELIMITERS, ".jsonl", ".json")
Record = dict[str, Any]


def read_table(path: Path | str, option: str) -> list[Record]:
    """Every row as column -> value; csv and tsv hold text alone.

    Args:
        option: the setting that names the file, for errors.

    Raises:
        ConfigError: no such file, not UTF-8, or a row that is none, named by its line.
    """
    file = Path(path).expanduser()
    if file.suffix not in SUFFIXES or not file.is_file():
        raise ConfigError(f"{option}={path} is no file that can be read. Give a {', '.join(SUFFIXES)} file that exists.")
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = _delimited(stream, DELIMITERS[file.suffix]) if file.suffix in DELIMITERS else _json(stream, file.suffix)
    except (UnicodeDecodeError, csv.Error, _Broken, json.JSONDecodeError, RecursionError) as error:
        raise ConfigError(
            f"{option}={path} cannot be read as UTF-8 {file.suffix[1:]}: {error}. Correct the file or save it anew."
        ) from error
    if not rows:
        raise ConfigError(f"{option}={path} has no rows. Give a file with at least one.")
    return rows


def write_table(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> None:
    """Write csv (with a byte order mark, for spreadsheets), tsv or jsonl; columns are those of the first row where none are given."""
    if path.suffix not in DELIMITERS:
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
        return
    with path.open("w", encoding="utf-8-sig", newline="", errors="backslashreplace") as stream:
        writer = csv.DictWriter(stream, columns or list(rows[0]), delimiter=DELIMITERS[path.suffix])
        writer.writeheader()
        writer.writerows(rows)


def need_columns(rows: Sequence[Mapping[str, Any]], columns: Iterable[str], where: str) -> None:
    """Refuse a file that lacks a column.

    Raises:
        ConfigError: with the columns there are.
    """
    missing = [column for column in columns if column not in rows[0]]
    if missing:
        raise ConfigError(
            f"{where} has no column {', '.join(map(repr, missing))}; it has {', '.join(map(repr, rows[0]))}. Name one of these."
        )


class _Broken(Exception):
    pass


def _delimited(stream: Iterable[str], delimiter: str) -> list[Record]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # the library's own limit, 131,072 characters, is below a long conversation
    reader = csv.DictReader(stream, delimiter=delimiter, strict=True)
    rows: list[Record] = []
    for row in reader:
        if None in row or None in row.values():
            raise _Broken(f"the row that ends in line {reader.line_num} has more or fewer fields than the header")
        rows.append(row)
    return rows


def _json(stream: Any, suffix: str) -> list[Record]:
    if suffix == ".json":
        rows = json.load(stream)
        if not isinstance(rows, list):
            raise _Broken("it holds no list of rows")
        numbered: Iterable[tuple[int, Any]] = enumerate(rows, 1)
        what = "entry"
    else:
        numbered = ((number, _line(line, number)) for number, line in enumerate(stream, 1) if line.strip())
        what = "line"
    found: list[Record] = []
    for number, row in numbered:
        if not isinstance(row, dict):
            raise _Broken(f"{what} {number} is no object")
        found.append(row)
    return found


def _line(line: str, number: int) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _Broken(f"line {number} is no JSON ({error})") from error
