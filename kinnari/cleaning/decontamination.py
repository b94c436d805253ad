"""A step that removes what a model will be tested on.

An evaluation row "Janet's ducks lay 16 eggs per day. She eats three for breakfast ..." and a conversation that asks the same with
another last sentence: 13 words in a row are common to both again and again, together they are most of the row, the conversation goes
with "87 % of row 1 of gsm8k".

N-grams of 13 words as in Brown et al. 2020, "Language Models are Few-Shot Learners", arXiv:2005.14165, appendix C; counted is the share of
the evaluation row they cover, as in Lambert et al. 2024, "Tülu 3", arXiv:2411.15124, section 3.2. A word is 4 characters of Thai, Lao,
Khmer, Burmese and 2 of Chinese and Japanese (kinnari/cleaning/words.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from kinnari.cleaning.evaluation_files import evaluation_file, evaluation_texts, file_hash
from kinnari.cleaning.step import RowStep
from kinnari.cleaning.texts import ALL, check_where, texts
from kinnari.cleaning.words import WORD, Pieces, pieces
from kinnari.errors import ConfigError
from kinnari.text.conversation import Conversation

_BASE = 0x9E3779B97F4A7C15
_INVERSE = pow(_BASE, -1, 2**64)


@dataclass(frozen=True)
class Decontamination(RowStep):
    """Removes a conversation that holds most of a row of an evaluation set.

    A row shorter than the n-gram counts where a user turn is the same, case, punctuation and spacing aside; that an answer is the same
    says nothing: many answers are "9".

    Args:
        files: evaluation sets, each {name, path, columns}; `columns` the columns with the texts, none for all (and for txt files).
        ngram: words.
        share: of the row's words, how many must lie in common n-grams; 0 removes for a single common n-gram.
        where: the parts looked at (kinnari/cleaning/texts.py), as one text.
    """

    files: tuple[Mapping[str, Any], ...]
    ngram: int = 13
    share: float = 0.5
    where: tuple[str, ...] = ALL

    def __post_init__(self) -> None:
        """Refuse files that are not there."""
        super().__post_init__()
        check_where(self.where, self)
        if self.ngram < 1 or not 0 <= self.share <= 1:
            raise ConfigError(f"Decontamination: ngram={self.ngram} must be 1 or more, and share={self.share} between 0 and 1.")
        for file in self.files:
            if not isinstance(file, Mapping) or not {"name", "path"} <= set(file) <= {"name", "path", "columns"}:
                raise ConfigError(f"Decontamination: {file} must be {{name: NAME, path: FILE, columns: [COLUMN]}}.")
            evaluation_file(file["path"])

    @property
    def fingerprint(self) -> str:
        """Class and parameters, and what the evaluation files hold now."""
        return f"{super().fingerprint} {[file_hash(file['path']) for file in self.files]}"

    def __call__(self, conversation: Conversation) -> Conversation | str:
        """The conversation if no evaluation row is in it."""
        found = [cut for text in texts(conversation, self.where) if len((cut := pieces(text)).ids)]
        if not found:
            return conversation
        hashes = np.unique(np.concatenate([_windows(cut, self.ngram)[0] for cut in found]))
        asked = [part for part in self.where if part != "answers"]
        wholes = [_whole(pieces(text)) for text in texts(conversation, asked)]
        for file in self.files:
            stat = evaluation_file(file["path"]).stat()
            # The size and time of the file are there for a file that changes while a notebook stays open.
            index = _index(file["path"], tuple(file.get("columns") or ()), self.ngram, stat.st_mtime_ns, stat.st_size)
            match = index.match(hashes, wholes, self.share)
            if match:
                row, share = match
                return f"{share:.0%} of row {row + 1} of {file['name']}"
        return conversation


@dataclass(frozen=True)
class Index:
    """The n-grams of an evaluation set.

    Attributes:
        hashes: [W] uint64, sorted: every n-gram of every row.
        rows, begins, ends: [W] int64: whose it is, and which of the row's pieces.
        weights: of each row, the weight of each of its pieces.
        short: hash of the whole text -> row, of rows shorter than an n-gram.
        ngram: words.
    """

    hashes: np.ndarray
    rows: np.ndarray
    begins: np.ndarray
    ends: np.ndarray
    weights: list[np.ndarray]
    short: dict[int, int]
    ngram: int

    def match(self, hashes: np.ndarray, wholes: list[int], share: float) -> tuple[int, float] | None:
        """The row of which most is in a conversation, and how much of it, if it is enough.

        Args:
            hashes: [H] uint64, different ones, of the conversation's n-grams.
            wholes: hashes of its whole texts.
        """
        short = next((self.short[whole] for whole in wholes if whole in self.short), None)
        if short is not None:
            return short, 1.0
        at = self._at(hashes)
        shares = {int(row): self._covered(int(row), at[self.rows[at] == row]) for row in np.unique(self.rows[at])}
        best = max(shares, key=lambda row: (shares[row], -row), default=None)
        return None if best is None or shares[best] < share else (best, shares[best])

    def _at(self, hashes: np.ndarray) -> np.ndarray:
        """Where in the index the hashes are, each in as many places as rows have it."""
        first = np.searchsorted(self.hashes, hashes)
        there = first < len(self.hashes)
        there[there] = self.hashes[first[there]] == hashes[there]
        if not there.any():
            return np.empty(0, dtype=np.int64)
        last = np.searchsorted(self.hashes, hashes[there], "right")
        return np.concatenate([np.arange(a, b) for a, b in zip(first[there], last, strict=True)])

    def _covered(self, row: int, at: np.ndarray) -> float:
        """Share of a row's words within the n-grams at `at`."""
        weights = self.weights[row]
        inside = np.zeros(len(weights), dtype=bool)
        for begin, end in zip(self.begins[at], self.ends[at], strict=True):
            inside[begin:end] = True
        return float(weights[inside].sum() / weights.sum())


@lru_cache(maxsize=16)
def _index(path: str, columns: tuple[str, ...], ngram: int, _changed: int, _size: int) -> Index:
    """Built once in each process. An n-gram that one row has twice is there twice."""
    short: dict[int, int] = {}
    parts, weights = [], []
    for row, text in enumerate(evaluation_texts(path, columns)):
        cut = pieces(text)
        hashes, begins, ends = _windows(cut, ngram)
        weights.append(cut.weights)
        if len(hashes):
            parts.append((hashes, np.full(len(hashes), row, dtype=np.int64), begins, ends))
        elif len(cut.ids):
            short.setdefault(_whole(cut), row)
    columns_of = [np.concatenate(arrays) for arrays in zip(*parts, strict=True)] or [np.empty(0, np.uint64), *[np.empty(0, np.int64)] * 3]
    order = np.argsort(columns_of[0], kind="stable")
    hashes, rows, begins, ends = (column[order] for column in columns_of)
    return Index(hashes, rows, begins, ends, weights, short, ngram)


def _windows(cut: Pieces, ngram: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(hashes [W] uint64, begins [W], ends [W]): from each piece on, as many pieces as make `ngram` words; fewer are no n-gram.

    Where an n-gram ends depends on its own pieces alone, so that a sentence has the same ones wherever it is quoted.
    """
    reached = np.concatenate([[0], np.cumsum(cut.weights)])
    ends = np.searchsorted(reached, reached[:-1] + ngram * WORD, "left")
    begins = np.flatnonzero(ends < len(reached))
    ends = ends[begins]
    # Polynomial hashes of all prefixes; the difference of two is a window's, once its power is divided out (modulo 2**64).
    powers, inverses = _powers(len(cut.ids))
    prefixes = np.concatenate([np.zeros(1, np.uint64), np.cumsum(cut.ids * powers, dtype=np.uint64)])
    return (prefixes[ends] - prefixes[begins]) * inverses[begins], begins, ends


def _whole(cut: Pieces) -> int:
    powers, _ = _powers(len(cut.ids))
    return int(np.sum(cut.ids * powers, dtype=np.uint64))


def _powers(count: int) -> tuple[np.ndarray, np.ndarray]:
    """([count], [count]) uint64: powers of the base and of its inverse, modulo 2**64."""
    size = 1 << max(10, count.bit_length())  # few different sizes, each computed once
    powers, inverses = _power_table(size)
    return powers[:count], inverses[:count]


@lru_cache(maxsize=8)
def _power_table(size: int) -> tuple[np.ndarray, np.ndarray]:
    def table(base: int) -> np.ndarray:
        factors = np.full(size, base, dtype=np.uint64)
        factors[0] = 1
        return np.cumprod(factors, dtype=np.uint64)

    return table(_BASE), table(_INVERSE)
