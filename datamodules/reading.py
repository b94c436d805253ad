"""JSON rows out of files that may be damaged: a bad row is reported with its line, and the rest goes on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinnari.errors import ConfigError

_NEXT_OBJECT = re.compile(r"\n\s*\{")
_DECODER = json.JSONDecoder()
SHOWN = 200  # characters of a broken row kept in the rejects file


@dataclass(frozen=True)
class Row:
    """A decoded row, or why it could not be decoded (`error`); `line` is 1-based, where the row begins."""

    line: int
    value: Any = None
    error: str | None = None


def data_files(path: str) -> list[Path]:
    """The local files behind `path`, which may be a file, a folder of files, or the name of a hub dataset (no files)."""
    return [Path(path)]


def read_rows(path: str, split: str = "train", subset: str | None = None) -> Iterator[tuple[str, Row]]:
    """(file, row) of every row behind `path`."""
    for file in data_files(path):
        for row in _file_rows(file):
            yield str(file), row


def _file_rows(path: Path) -> Iterator[Row]:
    """Rows of a JSON list or of JSON lines, whichever the file holds.

    Raises:
        ConfigError: if the file does not exist or is empty.
    """
    if path.is_dir():
        raise ConfigError(f"{path} is a folder. Give the file with data.<name>.path=FILE (json list or json lines).")
    if not path.is_file():
        raise ConfigError(f"{path} does not exist. Give the file with data.<name>.path=FILE (json list or json lines).")
    # surrogateescape keeps bytes that are not UTF-8 recognisable, so that only the rows holding them are rejected.
    text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    if not text.strip():
        raise ConfigError(f"{path} is empty; it should hold a json list of rows, or one json row per line.")
    rows = _list_rows(text) if text.lstrip().startswith("[") else _line_rows(text)
    for row in rows:
        bad_bytes = row.error is None and _holds_surrogate(row.value)
        yield Row(row.line, _readable(row.value), "the row holds bytes that are not UTF-8") if bad_bytes else row


def _line_rows(text: str) -> Iterator[Row]:
    # Not splitlines(): U+2028 and its like are legal inside JSON strings.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield Row(number, json.loads(line))
        except json.JSONDecodeError as problem:
            yield Row(number, _readable(line), f"broken JSON ({problem.msg} at column {problem.colno})")


def _list_rows(text: str) -> Iterator[Row]:
    position, line, counted = text.index("[") + 1, 1, 0
    while True:
        position = _skip(text, position)
        line += text.count("\n", counted, position)
        counted = position
        if position >= len(text) or text[position] == "]":
            if position >= len(text):
                yield Row(line, None, "the file ends inside the list: it was cut off")
            return
        try:
            value, end = _DECODER.raw_decode(text, position)
            yield Row(line, value)
        except json.JSONDecodeError as problem:
            follower = _NEXT_OBJECT.search(text, position + 1)
            end = follower.start() if follower else len(text)
            where = f"line {problem.lineno}, column {problem.colno}"
            yield Row(line, _readable(text[position:end]), f"broken JSON ({problem.msg} at {where})")
        position = end


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n,":
        position += 1
    return position


def _holds_surrogate(value: Any) -> bool:
    if isinstance(value, str):
        return any("\ud800" <= c <= "\udfff" for c in value)
    if isinstance(value, dict):
        return any(_holds_surrogate(v) for v in value.values())
    return isinstance(value, list) and any(_holds_surrogate(v) for v in value)


def _readable(value: Any) -> Any:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text[:SHOWN].encode("utf-8", "backslashreplace").decode()
