"""Plain text for continued pre-training, every token trained; text files, or rows with the text in one column:

    วัดพระแก้วอยู่ในกรุงเทพฯ          a document,
    สร้างเมื่อ พ.ศ. ๒๓๒๖              its second line

    Chiang Mai lies in the north.    an empty line begins the next

    {"text": "Chiang Mai lies in the north."}

A document is one message of the assistant without a question; the template `plain_text` adds no cues to it, and `limits.truncation=split`
makes as many records of a long one as it needs, by tokens. What is longer than `max_characters` is several documents from the start, so
that a file of gigabytes need not fit in memory; parted where paragraphs, lines or words end, and nothing is lost.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from datamodules.reading import Row
from datamodules.sources.columns import wrong_text_columns
from datamodules.sources.source import FileSource
from kinnari.errors import ConfigError
from kinnari.text.conversation import Message

DOCUMENTS = ("blank_line", "line", "file")
# Best places to part a text first: between paragraphs, lines, sentences, words.
_BREAKS = [re.compile(pattern) for pattern in (r"\n\s*\n", r"\n", r"[.!?။។]\s+|[。！？]", r"\s+")]


@dataclass(frozen=True, kw_only=True)
class PlainText(FileSource):
    """Texts to be learnt as they are.

    Args:
        documents: what a document is in a .txt file: blank_line (parted by empty lines), line, or file.
        column: with the text, in files of rows.
        max_characters: of a document; each has an EOS of its own.

    Raises:
        ConfigError: for a kind of document there is not, or a length below 16.
    """

    name: str = "plain_text"
    documents: str = "blank_line"
    column: str = "text"
    max_characters: int = 1_000_000

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        if self.documents not in DOCUMENTS:
            raise ConfigError(f"data.{self.name}.documents={self.documents} is unknown. Use one of: {', '.join(DOCUMENTS)}.")
        if self.max_characters < 16:
            raise ConfigError(
                f"data.{self.name}.max_characters={self.max_characters} is below 16. Give the characters that fit max_length."
            )

    def rows(self) -> Iterator[tuple[str, Row]]:
        """(file, row), each a piece of a document; lines of text files are put together first."""
        for file, rows in groupby(super().rows(), key=lambda pair: pair[0]):
            for row in self._documents(row for _, row in rows):
                yield file, row

    def convert(self, row: Any) -> tuple[Message, ...] | str:
        """The text as one trained message."""
        text = row if isinstance(row, str) else None
        return (Message("assistant", text, trained=True),) if text and text.strip() else "the text is empty"

    def _documents(self, rows: Iterable[Row]) -> Iterator[Row]:
        waiting: list[str] = []
        begins = length = 0
        for row in rows:
            if row.error is not None or not isinstance(row.value, str):
                yield from self._pieces(row)
                continue
            ends = self.documents == "line" or (self.documents == "blank_line" and not row.value.strip())
            begins = begins if waiting else row.line
            waiting.append(row.value)
            length += len(row.value) + 1
            # A file can be one document of gigabytes; what is complete goes out.
            if ends or length > 4 * self.max_characters:
                kept = "" if ends else self._rest("\n".join(waiting))
                text = "\n".join(waiting)
                yield from self._split(begins, text[: len(text) - len(kept)])
                waiting, begins, length = [kept] if kept else [], row.line, len(kept)
        yield from self._split(begins, "\n".join(waiting))

    def _rest(self, text: str) -> str:
        return pieces(text, self.max_characters)[-1]

    def _pieces(self, row: Row) -> Iterator[Row]:
        problem = row.error or wrong_text_columns(row.value, (self.column,))
        if problem:
            yield Row(row.line, row.value, problem)
            return
        yield from self._split(row.line, row.value[self.column])

    def _split(self, line: int, text: str) -> Iterator[Row]:
        for piece in pieces(text, self.max_characters):
            if piece.strip():
                yield Row(line, piece.lstrip("\r\n").rstrip())


def pieces(text: str, most: int) -> list[str]:
    """`text` in parts of at most `most` characters, "".join(parts) == text; parted at the best place in the second half of each."""
    parts, start = [], 0
    while len(text) - start > most:
        window = text[start : start + most]
        ends = (max((found.end() for found in at.finditer(window, most // 2)), default=0) for at in _BREAKS)
        length = next((end for end in ends if end), most)
        # Not between a letter and its vowel sign or tone mark, unless there is nothing else.
        while most // 2 < length and unicodedata.category(text[start + length]).startswith("M"):
            length -= 1
        parts.append(text[start : start + length])
        start += length
    return [*parts, text[start:]]
