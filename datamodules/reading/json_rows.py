"""Rows of JSON files in every layout in use, never more than a few rows in memory:

    {"instruction": ...}                      one row a line (json lines)
    [{"instruction": ...}, ...]               a list, on one line or many
    {                                         objects over several lines, one after another
      "instruction": ...
    {"instruction": [...], "output": [...]}   one object of columns, as `datasets` and pandas write them, or {"data": [rows]}

A list is told from lines by the first line: rows that are themselves lists stand whole on theirs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from datamodules.reading.json_stream import JsonStream, needs_check, why_broken
from datamodules.reading.row import Row, checked, is_text, readable
from datamodules.reading.streams import open_text

HEAD = 1 << 20  # characters of the first line looked at to tell the layout
LINE_SUFFIXES = (".jsonl", ".ndjson")


def json_rows(path: Path, suffix: str) -> Iterator[Row]:
    """Rows of a JSON file; `suffix` is its ending without that of packing."""
    with open_text(path) as stream:
        first, line = _next_line(stream.text, 1)
        yield from _rows(first, line, stream.text, suffix) if first else ()
        if stream.damage:
            yield Row(0, None, stream.damage)


def _next_line(stream: TextIO, line: int) -> tuple[str, int]:
    """The next line that is not blank, or its first HEAD characters, and its number; "" at the end of the file."""
    text = stream.readline(HEAD)
    while text and not text.strip():
        line += text.endswith("\n")
        text = stream.readline(HEAD)
    return text, line


def _rows(first: str, line: int, stream: TextIO, suffix: str) -> Iterator[Row]:
    whole = _is_whole(first)
    if first.lstrip().startswith("["):
        second, second_line = _next_line(stream, line + 1) if whole else ("", 0)
        if second:
            yield from chain(_line_rows([first], line), _line_rows(_with_rest(second, stream), second_line))
        else:
            yield from JsonStream(stream, first, line).rows()
    elif not whole and first.endswith("\n") and (suffix not in LINE_SUFFIXES or first.strip() == "{"):
        yield from _single(JsonStream(stream, first, line).rows())
    else:
        rows = _line_rows(_with_rest(first, stream), line)
        yield from rows if suffix in LINE_SUFFIXES else _single(rows)


def _with_rest(first: str, stream: TextIO) -> Iterator[str]:
    return chain([first if first.endswith("\n") else first + stream.readline()], stream)


def _is_whole(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _line_rows(lines: Iterable[str], first: int) -> Iterator[Row]:
    loads = json.loads
    for number, line in enumerate(lines, start=first):
        if line.isspace():
            continue
        try:
            value = loads(line)
        except (ValueError, RecursionError) as problem:
            line = line.rstrip("\r\n")
            where = f"column {min(problem.pos, len(line)) + 1}" if isinstance(problem, json.JSONDecodeError) else "this line"
            yield Row(number, readable(line), why_broken(problem, where))
            continue
        yield Row(number, value) if is_text(line) and not needs_check(line) else checked(number, value)


def _single(rows: Iterator[Row]) -> Iterator[Row]:
    """A file of one object may hold all its rows in it; of several, each is a row."""
    first = next(rows, None)
    if first is None:
        return
    second = next(rows, None)
    found = rows_in_object(first.value) if second is None and first.error is None else None
    if found is not None:
        yield from (Row(first.line, value) for value in found)
        return
    yield from chain([first], [second] if second else [], rows)


def rows_in_object(value: Any) -> list[Any] | None:
    """The rows of an object that is a whole data set, or None if it is a row itself."""
    if not isinstance(value, dict) or not value:
        return None
    if isinstance(value.get("data"), list):
        return value["data"]
    columns = list(value.values())
    if all(isinstance(column, dict) for column in columns):
        # pandas' to_json: column -> {"0": ..., "1": ...}
        keys = list(columns[0])
        same = all(list(column) == keys for column in columns) and keys == [str(i) for i in range(len(keys))]
        return [{name: column[key] for name, column in value.items()} for key in keys] if same and keys else None
    if not all(isinstance(column, list) and len(column) == len(columns[0]) for column in columns):
        return None
    if not columns[0] or any(isinstance(item, (dict, list)) for column in columns for item in column):
        return None
    return [dict(zip(value, items, strict=True)) for items in zip(*columns, strict=True)]
