"""How much a new instruction resembles those there are: ROUGE-L F in any script, exact, against all of them at once.

The published pipelines score with a tokeniser that keeps a-z and 0-9: two Thai instructions always score 0, so nothing is ever a
duplicate. Here tokens are those of `kinnari.generation.rouge` (words; characters in Thai, Korean, Chinese and Japanese), which for
English are the published ones. Each token becomes one character of an alphabet of our own, so that rapidfuzz's bit-parallel longest
common subsequence runs over plain strings.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import LCSseq

from kinnari.generation.rouge import rouge_tokens

LAST_CHARACTER = 0x10FFFF


@dataclass(frozen=True)
class Resemblance:
    """Scores of one instruction against all others, in [0, 1].

    Attributes:
        nearest: the most similar ones, best first, with their scores.
        mean: over all.
    """

    nearest: dict[str, float]
    mean: float

    @property
    def highest(self) -> float:
        """The score of the nearest; 0 where there is none."""
        return max(self.nearest.values(), default=0.0)


class InstructionIndex:
    """The instructions that a new one is compared with."""

    def __init__(self, instructions: Iterable[str] = ()) -> None:
        self.instructions: list[str] = []
        self._alphabet: dict[str, str] = {}
        self._coded: list[str] = []
        self._lengths = np.zeros(1024, dtype=np.int64)
        for instruction in instructions:
            self.add(instruction)

    def __len__(self) -> int:
        return len(self.instructions)

    def add(self, instruction: str) -> None:
        """Compare those that follow with this one too."""
        coded = self._code(instruction)
        if len(self._coded) == len(self._lengths):
            self._lengths = np.concatenate([self._lengths, np.zeros_like(self._lengths)])
        self._lengths[len(self._coded)] = len(coded)
        self._coded.append(coded)
        self.instructions.append(instruction)

    def scores(self, instruction: str) -> np.ndarray:
        """ROUGE-L F against each instruction in the order they were added: [N] float64."""
        coded = self._code(instruction)
        if not coded or not self._coded:
            return np.zeros(len(self._coded))
        common = process.cdist([coded], self._coded, scorer=LCSseq.similarity, dtype=np.uint32)[0].astype(np.float64)
        precision, recall = common / np.maximum(1, self._lengths[: len(self._coded)]), common / len(coded)
        # The order of operations of the rouge_score package, so that a score on the threshold falls on the same side.
        total = precision + recall
        return np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)

    def resemblance(self, instruction: str, most: int = 10) -> Resemblance:
        """The `most` nearest instructions and the mean over all."""
        scores = self.scores(instruction)
        if not len(scores):
            return Resemblance({}, 0.0)
        best = np.argpartition(-scores, min(most, len(scores)) - 1)[:most]
        best = best[np.lexsort((best, -scores[best]))]
        return Resemblance({self.instructions[i]: float(scores[i]) for i in best}, float(scores.mean()))

    def _code(self, text: str) -> str:
        alphabet = self._alphabet
        # Past a million different tokens new ones share the last character: scores can then only be too high.
        return "".join(alphabet.setdefault(token, chr(min(len(alphabet), LAST_CHARACTER))) for token in rouge_tokens(text))
