"""Translations that somebody else made, a person or a website, as an engine: a round trip over csv or json lines.

    id,source,target,text,translation
    5d0c...,en,th,Good morning,สวัสดีตอนเช้า

`task=translate task.mode=export_texts` writes such a file with empty translations; `translation=table` reads it back. Rows are found by
`id`, which survives programs that change line breaks or quotes of `text`; where there is no such column, by the text itself.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kinnari.errors import ConfigError
from kinnari.models.cache import file_sha256
from kinnari.translation.store import Keys
from kinnari.translation.translator import Progress, Translation, no_progress

COLUMNS = ("id", "source", "target", "text", "translation")


def text_id(text: str, source: str, target: str) -> str:
    """32 hex digits that name a text and the direction it is to be translated in."""
    return Keys({}, source, target)(text).hex()


class TableTranslator:
    """Looks texts up; one that is not there is a failure, so that the next run can find it in a longer file.

    Args:
        path: a csv (with a header line) or jsonl file.
        text_column, translation_column: where the file calls them otherwise, such as `text` and `translated_text_replaced`.

    Raises:
        ConfigError: no such file, or none with these columns.
    """

    def __init__(self, path: Path | str | None, text_column: str = "text", translation_column: str = "translation") -> None:
        self.path, self.columns = Path(path or "null").expanduser(), (text_column, translation_column)
        if self.path.suffix not in (".csv", ".jsonl") or not self.path.is_file():
            raise ConfigError(f"translation.engine.path={path} is no csv or jsonl file. Give the file with the translated texts.")
        self._by_id: dict[str, str] = {}
        self._by_text: dict[str, str] = {}
        for row in read_table(self.path):
            self._take(row)

    def _take(self, row: Mapping[str, Any]) -> None:
        text, translation = (row.get(column) for column in self.columns)
        if translation is None and self.columns[1] not in row:
            raise ConfigError(
                f"{self.path} has no column {self.columns[1]!r}, only {', '.join(map(str, row))}. Name it with "
                "translation.engine.translation_column=COLUMN."
            )
        if not isinstance(translation, str) or not translation.strip():
            return  # not translated yet
        if isinstance(row.get("id"), str) and row["id"]:
            self._by_id.setdefault(row["id"].strip(), translation)
        elif isinstance(text, str):
            self._by_text.setdefault(text, translation)

    @property
    def identity(self) -> Mapping[str, Any]:
        """The file's contents."""
        return {"engine": "table", "sha256": file_sha256(self.path), "columns": list(self.columns)}

    def translate(self, texts: Sequence[str], source: str, target: str, on_progress: Progress = no_progress) -> list[Translation]:
        """What the table says, to the letter."""
        found = [self._by_id.get(text_id(text, source, target), self._by_text.get(text)) for text in texts]
        on_progress(len(texts))
        return [Translation(text, None if text is not None else f"{self.path.name} has no translation of it") for text in found]


def read_table(path: Path) -> Iterator[Mapping[str, Any]]:
    """Rows of a csv or jsonl file; rows of json lines that are no objects are passed over, as is a broken line.

    Raises:
        ConfigError: the file is not UTF-8.
    """
    try:
        # Spreadsheet programs begin UTF-8 files with a byte order mark.
        with path.open(encoding="utf-8-sig", newline="" if path.suffix == ".csv" else "\n") as stream:
            yield from _csv_rows(stream) if path.suffix == ".csv" else _json_rows(stream)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path} cannot be read as UTF-8 {path.suffix[1:]} ({error}). Save it as that; spreadsheets offer it.") from error


def write_table(path: Path, rows: Iterable[tuple[str, str, str]]) -> int:
    """Write (source, target, text) rows with ids and empty translations; how many, each text once.

    Raises:
        ConfigError: the file's name ends in neither .csv nor .jsonl.
    """
    if path.suffix not in (".csv", ".jsonl"):
        raise ConfigError(f"{path} must end in .csv or .jsonl.")
    seen: set[str] = set()
    with path.open("w", encoding="utf-8-sig" if path.suffix == ".csv" else "utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        if path.suffix == ".csv":
            writer.writeheader()
        for source, target, text in rows:
            name = text_id(text, source, target)
            if name in seen:
                continue
            seen.add(name)
            row = dict(zip(COLUMNS, (name, source, target, text, ""), strict=True))
            if path.suffix == ".csv":
                writer.writerow(row)
            else:
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")
    return len(seen)


def _csv_rows(stream: Iterable[str]) -> Iterator[Mapping[str, Any]]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # the library's own limit, 131,072 characters, is below a long conversation
    yield from csv.DictReader(stream)


def _json_rows(stream: Iterable[str]) -> Iterator[Mapping[str, Any]]:
    for line in stream:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            yield row
