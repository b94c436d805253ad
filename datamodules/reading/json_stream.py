"""The values of a long JSON list, decoded from a window that moves over the file.

A value that cannot be decoded is reported, and reading goes on where the next row seems to begin: at the next line that opens an
object at the same indentation, or, in a list on one line, at the next object with the same first key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, TextIO

from datamodules.reading.row import DEEPEST, SHOWN, TOO_DEEP, Row, checked, is_text, readable

WINDOW = 1 << 18  # characters read at a time
_NEAR = 16  # an error this close to the window's end may come from the cut: `tru`, `\\u12`
_LONGEST_PATTERN = 1024  # characters: indentation or first key by which the next row is recognised
_SEPARATORS = re.compile(r"[ \t\r\n,]*")
_FIRST_KEY = re.compile(r'\{\s*("(?:[^"\\]|\\.)*")\s*:')
_DECODER = json.JSONDecoder()


def why_broken(problem: Exception, where: str) -> str:
    """The reason of a rejected row, from what the decoder raised."""
    if isinstance(problem, RecursionError):
        return TOO_DEEP
    said = problem.msg.removesuffix(" at") if isinstance(problem, json.JSONDecodeError) else str(problem)
    return f"broken JSON ({said} at {where})"


def needs_check(text: str, start: int = 0, end: int | None = None) -> bool:
    """Whether the value decoded from `text` could hold half a character or be too deep: a quick look before the walk."""
    end = len(text) if end is None else end
    escapes = text.find("\\ud", start, end) >= 0 or text.find("\\uD", start, end) >= 0
    return escapes or text.count("[", start, end) + text.count("{", start, end) > DEEPEST


class JsonStream:
    """Reads the elements of a list, or objects standing one after another.

    Args:
        stream: the rest of the file.
        head: what was read of it already; begins with the list's bracket or with an object.
        line: of the first character of `head`, 1-based.
    """

    def __init__(self, stream: TextIO, head: str, line: int) -> None:
        self._stream = stream
        self._text = head
        self._position = 0
        self._line, self._column = line, 0  # of the window's first character
        self._counted = 0  # up to here in the window line ends are in `_line`
        self._ended = False
        self._clean = is_text(head)  # no byte of the window was undecodable
        self._first_key: str | None = None  # of the first whole row, as it stands in the file
        self._indent: str | None = None  # of the first whole row that begins a line

    def rows(self) -> Iterator[Row]:
        """Every element, decoded or with its error; a last one says so if the list was cut off."""
        self._skip()
        listed = self._text.startswith("[", self._position)
        self._position += listed
        while True:
            self._skip()
            line = self._here()
            if self._position >= len(self._text):
                if listed:
                    yield Row(line, None, "the file ends inside the list: it was cut off")
                return
            if listed and self._text[self._position] == "]":
                yield from self._after_the_list()
                return
            yield self._row(line)

    def _after_the_list(self) -> Iterator[Row]:
        self._position += 1
        self._skip()
        if self._position < len(self._text):
            yield Row(self._here(), readable(self._text[self._position : self._position + SHOWN]), "text stands after the end of the list")

    def _row(self, line: int) -> Row:
        try:
            value, end = self._decode()
        except (ValueError, RecursionError) as problem:
            return self._broken(line, problem)
        start, self._position = self._position, end  # after decoding, which may have moved the window
        if self._first_key is None and (found := _FIRST_KEY.match(self._text, start)):
            self._first_key = found.group(1)
        if self._indent is None:
            self._indent = self._indent_at(start)
        if not self._clean or needs_check(self._text, start, end):
            return checked(line, value)
        return Row(line, value)

    def _decode(self) -> tuple[Any, int]:
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._position)
                # A number at the window's end may go on behind it: of `1.` or `1e+` the decoder takes the 1.
                near = _NEAR if isinstance(value, (int, float)) else 1
                if end + near <= len(self._text) or not self._fill():
                    return value, end
            except json.JSONDecodeError as problem:
                cut = problem.msg.startswith("Unterminated string") or problem.pos >= len(self._text) - _NEAR
                if not cut or not self._fill():
                    raise

    def _fill(self) -> bool:
        """Move the window on, keeping what is not decoded yet; False at the end of the file."""
        if self._ended:
            return False
        # Doubling: a row of many windows is tried a few times, not once per window.
        more = self._stream.read(max(WINDOW, len(self._text) - self._position))
        if not more:
            self._ended = True
            return False
        self._here()
        # The start of the row's line stays, its indentation tells where the next row begins.
        cut = max(self._text.rfind("\n", 0, self._position) + 1, self._position - _LONGEST_PATTERN)
        newline = self._text.rfind("\n", 0, cut)
        self._column = cut - newline - 1 if newline >= 0 else self._column + cut
        rest = self._text[cut:]
        self._clean = is_text(more) and (self._clean or is_text(rest))
        self._text = rest + more
        self._position -= cut
        self._counted -= cut
        return True

    def _skip(self) -> None:
        while True:
            self._position = _SEPARATORS.match(self._text, self._position).end()  # type: ignore[union-attr]
            if self._position < len(self._text) or not self._fill():
                return

    def _here(self) -> int:
        """The line of the position."""
        self._line += self._text.count("\n", self._counted, self._position)
        self._counted = self._position
        return self._line

    def _broken(self, line: int, problem: Exception) -> Row:
        where = self._place(line, problem.pos) if isinstance(problem, json.JSONDecodeError) else f"line {line}"
        next_row = self._next_row_pattern()
        start = self._position
        shown = self._text[start : start + SHOWN]
        found = next_row.search(self._text, start + 1)
        if found:
            shown = shown[: found.start() - start]
        while not found:
            # Only what a pattern could still begin in is kept, so that skipping a gigabyte takes no memory.
            self._position = max(self._position, len(self._text) - _LONGEST_PATTERN)
            if not self._fill():
                break
            found = next_row.search(self._text, self._position)
        self._position = found.start() if found else len(self._text)
        return Row(line, readable(shown), why_broken(problem, where))

    def _place(self, line: int, position: int) -> str:
        newline = self._text.rfind("\n", 0, position)
        column = position - newline if newline >= 0 else self._column + position + 1
        return f"line {line + self._text.count(chr(10), self._position, position)}, column {column}"

    def _next_row_pattern(self) -> re.Pattern[str]:
        # What whole rows look like, before what this one does: its indentation may be what is damaged.
        indent = self._indent_at(self._position) if self._indent is None else self._indent
        if indent is not None:
            return re.compile(rf"\n{re.escape(indent)}\{{")
        own = _FIRST_KEY.match(self._text, self._position)
        key = self._first_key or (own.group(1) if own else None)
        return re.compile(rf",\s*\{{\s*{re.escape(key)}\s*:") if key else re.compile(r"[}\]]\s*,\s*[{\[]")

    def _indent_at(self, position: int) -> str | None:
        """The white space before `position` on its line; None if other text is there, or too much of it."""
        begin = max(0, position - _LONGEST_PATTERN)
        newline = self._text.rfind("\n", begin, position)
        before = self._text[newline + 1 : position] if newline >= 0 else self._text[:position] if begin == 0 and self._column == 0 else "["
        return None if before.strip() else before
