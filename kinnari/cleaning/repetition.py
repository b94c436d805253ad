"""A step that removes texts that repeat themselves, by the rules with which MassiveText was filtered.

Rae et al. 2021, "Scaling Language Models: Methods, Analysis & Insights from Training Gopher", arXiv:2112.11446, table A1: shares of
lines that are repeated, of characters in the commonest 2- to 4-gram, of characters in any 5- to 10-gram that occurs twice. There
n-grams are of words; here of pieces worth n words (kinnari/cleaning/words.py), so that Thai, Chinese and Japanese are judged alike.

    "ครับครับครับครับ ..."          all of it in one repeated n-gram
    "我不知道。我不知道。我不知道。"     the same
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from kinnari.cleaning.step import RowStep
from kinnari.cleaning.texts import check_where, shown, texts
from kinnari.cleaning.words import WORD, Pieces, pieces
from kinnari.errors import ConfigError
from kinnari.text.conversation import Conversation

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Repetition(RowStep):
    """Removes a conversation with a text that repeats itself.

    Poems with a refrain, tables and lists of like sentences are repetitive too: raise the limits for such sources.

    Args:
        least_words: shorter texts are not judged; a few words repeat easily.
        lines: most of the lines that may be repeats of an earlier one.
        line_characters: most of the characters that may be in repeated lines.
        top_ngram: n -> most of the characters that may be in the commonest n-gram.
        duplicate_ngram: n -> most of the characters that may be in n-grams that occur more than once.
        where: the parts each of whose texts is judged.
    """

    least_words: int = 30
    lines: float = 0.30
    line_characters: float = 0.20
    top_ngram: Mapping[int, float] = field(default_factory=lambda: {2: 0.20, 3: 0.18, 4: 0.16})
    duplicate_ngram: Mapping[int, float] = field(default_factory=lambda: {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10})
    where: tuple[str, ...] = ("answers",)

    def __post_init__(self) -> None:
        """Refuse shares outside [0, 1] and n below 1."""
        super().__post_init__()
        check_where(self.where, self)
        shares = [self.lines, self.line_characters, *self.top_ngram.values(), *self.duplicate_ngram.values()]
        if not all(0 <= share <= 1 for share in shares) or not all(int(n) == n >= 1 for n in (*self.top_ngram, *self.duplicate_ngram)):
            raise ConfigError(f"Repetition: shares must be between 0 and 1, and n whole numbers from 1; given are {self!r}.")

    def __call__(self, conversation: Conversation) -> Conversation | str:
        """The conversation if none of its texts exceeds a limit."""
        for text in texts(conversation, self.where):
            problem = self._problem(text)
            if problem:
                return f"{problem}: {shown(text)}"
        return conversation

    def _problem(self, text: str) -> str | None:
        cut = pieces(text)
        if int(cut.weights.sum()) < self.least_words * WORD:
            return None
        return self._repeated_lines(text) or self._repeated_ngrams(cut)

    def _repeated_lines(self, text: str) -> str | None:
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        repeats = [count - 1 for count in Counter(lines).values()]
        share = sum(repeats) / len(lines)
        if share > self.lines:
            return f"{share:.0%} of the lines are repeats"
        characters = sum(len(line) * (count - 1) for line, count in Counter(lines).items())
        share = characters / sum(map(len, lines))
        return f"{share:.0%} of the characters are in repeated lines" if share > self.line_characters else None

    def _repeated_ngrams(self, cut: Pieces) -> str | None:
        total = int(cut.sizes.sum())
        for n, limit in self.top_ngram.items():
            share = top_share(cut, n) / total
            if share > limit:
                return f"{share:.0%} of the characters are in one {n}-gram"
        for n, limit in self.duplicate_ngram.items():
            share = duplicate_characters(cut, n) / total
            if share > limit:
                return f"{share:.0%} of the characters are in {n}-grams that occur more than once"
        return None


def top_share(cut: Pieces, n: int) -> int:
    """Characters in all occurrences of the commonest n-gram; 0 where none occurs twice."""
    grams, length = _grams(cut, n)
    if not len(grams):
        return 0
    values, first, counts = np.unique(grams, return_index=True, return_counts=True)
    most = counts.max()
    if most < 2:
        return 0
    # Of equally common ones the longest, as the paper's measure is of characters.
    ends = np.concatenate([[0], np.cumsum(cut.sizes)])
    begin = first[counts == most]
    # Occurrences may overlap ("ha ha ha"): no character counts twice.
    best = values[counts == most][np.argmax(ends[begin + length] - ends[begin])]
    return int(cut.sizes[_covered(grams == best, length)].sum())


def duplicate_characters(cut: Pieces, n: int) -> int:
    """Characters within n-grams that occur more than once, each character counted once."""
    grams, length = _grams(cut, n)
    if not len(grams):
        return 0
    _, inverse, counts = np.unique(grams, return_inverse=True, return_counts=True)
    return int(cut.sizes[_covered(counts[inverse] > 1, length)].sum())


def _grams(cut: Pieces, n: int) -> tuple[np.ndarray, int]:
    """([G] uint64 hash of every run of pieces worth n words, pieces in a run). A text's average piece decides how many that is."""
    if not len(cut.ids):
        return np.empty(0, dtype=np.uint64), 1
    length = max(1, round(n * WORD * len(cut.ids) / int(cut.weights.sum())))
    if length > len(cut.ids):
        return np.empty(0, dtype=np.uint64), length
    grams = np.zeros(len(cut.ids) - length + 1, dtype=np.uint64)
    for offset in range(length):
        grams = grams * _MULTIPLIER + cut.ids[offset : offset + len(grams)]
    return grams, length


def _covered(starts: np.ndarray, length: int) -> np.ndarray:
    """[P] bool: the pieces within a run that begins where `starts` [G] is true."""
    change = np.zeros(len(starts) + length, dtype=np.int64)
    change[: len(starts)] += starts
    change[length:] -= starts
    return np.cumsum(change)[:-1] > 0
