"""Texts of evaluation sets, out of local files.

{"question": "Janet's ducks lay 16 eggs per day ...", "answer": "... 18"}     columns=[question] -> the question of each row

json (a list, or an object that holds one), jsonl, csv, tsv and txt (a line is a row), each also as .gz. A column may hold a text or a
list of texts.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from kinnari.errors import ConfigError

READABLE = (".json", ".jsonl", ".csv", ".tsv", ".txt")
LONGEST_FIELD = 2**30  # of a csv file; Python's own limit of 131,072 is below what answers can have


def evaluation_file(path: str, step: str = "Decontamination") -> Path:
    """The file, if it is one that can be read.

    Raises:
        ConfigError: if there is none, or its name has another ending.
    """
    file = Path(path)
    if not file.is_file():
        raise ConfigError(f"{step}: the evaluation file {path} does not exist. Give files=[{{name: NAME, path: FILE, columns: [COLUMN]}}].")
    if _ending(file) not in READABLE:
        raise ConfigError(f"{step}: the evaluation file {path} must end in {', '.join(READABLE)}, or in one of these and .gz.")
    return file


def file_hash(path: str) -> str:
    """SHA-256 of what the file holds."""
    with evaluation_file(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def evaluation_texts(path: str, columns: Sequence[str]) -> list[str]:
    """One text per row, the columns' texts with a line break between two; empty where a row has none.

    Raises:
        ConfigError: if the file cannot be read, or no row has a text in one of the columns.
    """
    file = evaluation_file(path)
    try:
        data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        rows = list(_rows(data.decode("utf-8-sig"), _ending(file)))
    except (OSError, EOFError, ValueError, csv.Error, RecursionError) as problem:
        raise ConfigError(f"the evaluation file {path} cannot be read: {problem}. It must be whole and in UTF-8.") from None
    found = ["\n".join(_texts_of(row, columns)) for row in rows]
    if not any(text.strip() for text in found):
        names = sorted({str(key) for row in rows[:10] if isinstance(row, dict) for key in row})
        raise ConfigError(f"the evaluation file {path} has no text in columns={list(columns)}; its columns: {', '.join(names) or 'none'}.")
    return found


def _ending(file: Path) -> str:
    return Path(file.stem).suffix.lower() if file.suffix == ".gz" else file.suffix.lower()


def _rows(text: str, ending: str) -> Iterator[Any]:
    if ending == ".txt":
        yield from text.split("\n")
    elif ending == ".jsonl":
        yield from (json.loads(line) for line in text.split("\n") if line.strip())
    elif ending == ".json":
        yield from _list_in(json.loads(text))
    else:
        csv.field_size_limit(LONGEST_FIELD)
        yield from csv.DictReader(io.StringIO(text, newline=""), delimiter="\t" if ending == ".tsv" else ",")


def _list_in(value: Any) -> list[Any]:
    """The rows of a json file: itself, or the one list an object holds."""
    if isinstance(value, list):
        return value
    lists = [inner for inner in value.values() if isinstance(inner, list)] if isinstance(value, dict) else []
    return lists[0] if len(lists) == 1 else [value]


def _texts_of(row: Any, columns: Sequence[str]) -> Iterator[str]:
    if isinstance(row, str):
        yield row
    elif isinstance(row, dict):
        for column in columns or row:
            value = row.get(column)
            yield from (inner for inner in (value if isinstance(value, list) else [value]) if isinstance(inner, str) and inner.strip())
