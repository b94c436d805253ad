"""Words for scripts with and without spaces, so that one threshold means about the same in every language.

    "the cat sat"     3 words
    "แมวนั่งบนเสื่อ"       a word is taken to be 4 characters of Thai, Lao, Khmer or Burmese
    "猫坐在垫子上"       and 2 characters of Chinese or Japanese

A text becomes pieces: a run of letters and digits of a script with spaces is one piece of weight WORD; a character of a script
without is a piece of its own, of weight WORD / 4 or WORD / 2. It depends on nothing but the characters, so a sentence has the same
pieces wherever it stands.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

WORD = 4  # weight of a word
LONGEST_WORD = 32  # letters; what is longer ("hahaha...") is as many words as this goes into it
_FOUR_TO_A_WORD = "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ede\u1000-\u109f\u1780-\u17d3"
_TWO_TO_A_WORD = "\u3005\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
# Marks belong to words (Hindi, Arabic and Tamil vowels are marks), and so do apostrophes within: don't.
_PIECE = re.compile(
    rf"([{_FOUR_TO_A_WORD}])|([{_TWO_TO_A_WORD}])"
    rf"|((?:(?![{_FOUR_TO_A_WORD}{_TWO_TO_A_WORD}_])[\w\u0300-\u036f\u0591-\u05bd\u064b-\u0652\u0900-\u0dff]){{1,{LONGEST_WORD}}})"
)
_ASCII_WORD = re.compile(rf"[0-9A-Za-z]{{1,{LONGEST_WORD}}}")


@dataclass(frozen=True)
class Pieces:
    """A folded text in pieces.

    Attributes:
        ids: [P] uint64, the same for the same piece in every process.
        weights: [P] int64.
        sizes: [P] int64, characters.
    """

    ids: np.ndarray
    weights: np.ndarray
    sizes: np.ndarray


def word_count(text: str) -> int:
    """Words of a text, at least 1 where there is any letter or digit."""
    return -(-int(pieces(text).weights.sum()) // WORD)


def pieces(text: str) -> Pieces:
    """The words and characters of a text, case and width folded away; punctuation and spaces are none."""
    text = text.casefold() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()
    if text.isascii():
        found = _ASCII_WORD.findall(text)
        weights = np.full(len(found), WORD, dtype=np.int64)
    else:
        groups = _PIECE.findall(text)
        found = [four or two or word for four, two, word in groups]
        weights = np.fromiter((WORD // 4 if four else WORD // 2 if two else WORD for four, two, _ in groups), np.int64, len(groups))
    ids = np.fromiter(map(_id, found), np.uint64, len(found))
    return Pieces(ids, weights, np.fromiter(map(len, found), np.int64, len(found)))


@lru_cache(maxsize=1 << 16)
def _id(piece: str) -> int:
    # Not hash(), which differs between processes.
    return int.from_bytes(hashlib.blake2b(piece.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
