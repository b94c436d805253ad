"""Long texts in pieces that a translation model can take, and back together with nothing lost between them.

    "1. Run this:\n```\npip install x\n```\nGood. Done."
    ->  kept "1. " | Run this: | kept "\n```\npip install x\n```\n" | Good. | kept " " | Done.

What is kept is never shown to an engine, so line breaks, list markers, indentation and code cannot be harmed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from kinnari.errors import ConfigError
from kinnari.translation.languages import language
from kinnari.translation.translator import Translation

Unit = Literal["text", "line", "sentence"]
UNITS = ("text", "line", "sentence")

# A fence that is never closed reaches to the end, as in CommonMark; backticks in the opening line make it inline code instead.
CODE_BLOCK = re.compile(r"^[ \t]*(`{3,}(?=[^`\n]*$)|~{3,})[^\n]*(?:\n.*?^[ \t]*\1[`~]*[ \t]*$|.*\Z)", re.MULTILINE | re.DOTALL)
_MARKER = re.compile(r"\s*(?:(?:[-*+•>]|#{1,6}|\d{1,3}[.)]|[A-Za-z][.)])[ \t]+)*")
_ADDRESS = re.compile(r"(?:https?://|www\.)\S+")
_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+(?![a-z])|(?<=[。！？])[”』」）]*\s*")
_CLAUSE_END = re.compile(r"(?<=[,;:])\s+|(?<=[，、；：])")
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True)
class Piece:
    """A stretch of a text; `kept` stretches are not translated."""

    text: str
    kept: bool


def split(text: str, unit: Unit, *, keep_code: bool = True, fits: Callable[[str], bool] = lambda text: True) -> list[Piece]:
    """Pieces of `text`; joined they are `text`, character for character.

    Args:
        unit: what an engine is given at once: a whole text, a line, or a sentence.
        keep_code: whether fenced code blocks are kept.
        fits: whether a stretch is short enough for the engine; longer ones are halved at the border nearest to their middle: of
            sentences if there is one, else of clauses, words, characters.

    Raises:
        ConfigError: an unknown unit.
    """
    if unit not in UNITS:
        raise ConfigError(f"translation.engine.unit={unit!r} is unknown. Choose one of {', '.join(UNITS)}.")
    pieces: list[Piece] = []
    for block in _blocks(text) if keep_code else [Piece(text, kept=False)]:
        if block.kept:
            pieces.append(block)
            continue
        for stretch in [block.text] if unit == "text" else block.text.splitlines(keepends=True):
            pieces += _stretch(stretch, unit, fits)
    return _merged(pieces)


def join(pieces: Sequence[Piece], translations: Mapping[str, str], target: str) -> str:
    """The pieces with each translated one replaced; sentences get the spacing of the target language between them."""
    spaced = language(target).spaced
    written: list[str] = []
    for i, piece in enumerate(pieces):
        before = pieces[i - 1] if i else None
        between = before is not None and not before.kept and i + 1 < len(pieces) and not pieces[i + 1].kept
        if piece.kept:
            written.append("" if piece.text == " " and between and not spaced else piece.text)
            continue
        if before is not None and not before.kept and spaced:
            written.append(" ")
        written.append(translations[piece.text])
    return "".join(written)


def assemble(pieces: Sequence[Piece], done: Mapping[str, Translation], target: str) -> Translation:
    """The text of `pieces` out of the translations of its stretches; the first failed one fails it."""
    used = {piece.text: done[piece.text] for piece in pieces if not piece.kept}
    failed = next((result for result in used.values() if result.text is None), None)
    return failed or Translation(join(pieces, {text: result.text or "" for text, result in used.items()}, target))


def _blocks(text: str) -> Iterator[Piece]:
    at = 0
    for found in CODE_BLOCK.finditer(text):
        if found.start() > at:
            yield Piece(text[at : found.start()], kept=False)
        yield Piece(found.group(), kept=True)
        at = found.end()
    if at < len(text):
        yield Piece(text[at:], kept=False)


def _stretch(text: str, unit: Unit, fits: Callable[[str], bool]) -> Iterator[Piece]:
    """A line, or a whole text: what stands around the words is kept."""
    marker = _MARKER.match(text) if unit != "text" else re.match(r"\s*", text)
    assert marker is not None  # both patterns match the empty string
    body = text[marker.end() :].rstrip()
    if not any(c.isalpha() for c in body) or _ADDRESS.fullmatch(body):
        yield Piece(text, kept=True)
        return
    yield Piece(marker.group(), kept=True)
    sentences = _cut_everywhere(body, _SENTENCE_END) if unit == "sentence" else [Piece(body, kept=False)]
    for piece in sentences:
        yield from [piece] if piece.kept else _halved(piece.text, fits)
    yield Piece(text[marker.end() + len(body) :], kept=True)


def _cut_everywhere(text: str, border: re.Pattern[str]) -> list[Piece]:
    pieces, at = [], 0
    for found in border.finditer(text):
        end = found.start() + len(found.group().rstrip())
        if at < end and found.end() < len(text):
            pieces += [Piece(text[at:end], kept=False), Piece(text[end : found.end()], kept=True)]
            at = found.end()
    return [*pieces, Piece(text[at:], kept=False)]


def _halved(text: str, fits: Callable[[str], bool]) -> list[Piece]:
    if len(text) < 2 or fits(text):
        return [Piece(text, kept=False)]
    end, start = _nearest_border(text)
    left, right = _halved(text[:end], fits), _halved(text[start:], fits)
    return [*left, Piece(text[end:start], kept=True), *right]


def _nearest_border(text: str) -> tuple[int, int]:
    """(end of the left half, start of the right half) of the best cut; only whitespace lies between them."""
    middle = len(text) / 2
    for border in (_SENTENCE_END, _CLAUSE_END, _SPACE):
        cuts = [(m.start() + len(m.group().rstrip()), m.end()) for m in border.finditer(text)]
        cuts = [cut for cut in cuts if cut[0] > 0 and cut[1] < len(text)]
        if cuts:
            return min(cuts, key=lambda cut: abs(cut[0] - middle))
    at = len(text) // 2
    while at + 1 < len(text) and unicodedata.category(text[at])[0] == "M":  # a vowel stays with its consonant
        at += 1
    return at, at


def _merged(pieces: list[Piece]) -> list[Piece]:
    """Neighbouring kept pieces as one, empty ones gone."""
    merged: list[Piece] = []
    for piece in pieces:
        if piece.kept and merged and merged[-1].kept:
            merged[-1] = Piece(merged[-1].text + piece.text, kept=True)
        elif piece.text:
            merged.append(piece)
    return merged
