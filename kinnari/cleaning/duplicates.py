"""Steps that keep one of several like conversations: the first.

    ExactDuplicates(where=["questions", "answers"])     the same texts, to the character or after folding
    NearDuplicates(threshold=0.8)                        texts that share most of their n-grams of characters

With a weight of 2 a source is still passed over twice: weights count after cleaning.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from kinnari.cleaning.step import SetStep
from kinnari.cleaning.texts import ALL, PARTS, check_where, joined, texts
from kinnari.errors import ConfigError
from kinnari.text.conversation import Conversation, normalise_question
from kinnari.text.minhash import near_groups, signature


@dataclass(frozen=True)
class ExactDuplicates(SetStep):
    """Removes a conversation whose texts an earlier one has, whatever its source.

    Compared are 128-bit hashes: among a billion conversations a false match has the probability of 10**-21.

    Args:
        where: the parts compared (kinnari/cleaning/texts.py). `[inputs, answers]` compares the (input, output) of alpaca rows,
            `[questions, contexts]` keeps one answer per question.
        normalised: compare without regard to case, punctuation, width and spacing.
    """

    where: tuple[str, ...] = ALL
    normalised: bool = False

    def __post_init__(self) -> None:
        """Refuse unknown parts."""
        super().__post_init__()
        check_where(self.where, self)

    def signature(self, conversation: Conversation) -> np.ndarray:
        """[2] uint64: the hash of the texts compared."""
        digest = hashlib.blake2b(digest_size=16)
        for part in self.where:
            found = [normalise_question(t) if self.normalised else t.strip() for t in texts(conversation, (part,))]
            # Number and lengths of the texts keep ("ab", "c") apart from ("a", "bc").
            digest.update(f"{part} {[len(t) for t in found]} ".encode())
            digest.update("".join(found).encode("utf-8", "surrogatepass"))
        return np.frombuffer(digest.digest(), dtype="<u8").astype(np.uint64)

    def duplicate_of(self, signatures: np.ndarray) -> np.ndarray:
        """[N] int64: the first conversation with the same hash, -1 for that one itself."""
        count = len(signatures)
        if not count:
            return np.empty(0, dtype=np.int64)
        # Stable, so that of equal ones the earliest comes first.
        order = np.lexsort(tuple(signatures.T))
        ordered = signatures[order]
        begins = np.concatenate([[True], np.any(ordered[1:] != ordered[:-1], axis=1)])
        first = order[np.flatnonzero(begins)][np.cumsum(begins) - 1]
        result = np.full(count, -1, dtype=np.int64)
        result[order] = np.where(first == order, -1, first)
        return result


@dataclass(frozen=True)
class NearDuplicates(SetStep):
    """Removes a conversation that is much like an earlier one.

    How alike two texts are is the share of common n-grams of characters (Jaccard), estimated with MinHash (Broder 1997, "On the
    resemblance and containment of documents"): characters, because Thai, Chinese and Japanese have no spaces. How alike two
    conversations are is the mean over their parts: ten questions about one long passage are not near duplicates, nor are two texts to
    be classified, with the same long instruction and the answer "positive". What is like something like the first
    belongs to the first as well. The arithmetic is in kinnari/text/minhash.py.

    Args:
        threshold: in (0, 1]; 0.8 takes sentences that differ in a word or two.
        ngram: characters.
        num_perm: numbers in a signature; the estimate is off by about 1 / sqrt(num_perm).
        seed: of the hash functions.
        where: the parts compared, each with its like.
    """

    threshold: float = 0.8
    ngram: int = 5
    num_perm: int = 128
    seed: int = 0
    where: tuple[str, ...] = ALL

    def __post_init__(self) -> None:
        """Refuse impossible thresholds and sizes."""
        super().__post_init__()
        check_where(self.where, self)
        if not 0 < self.threshold <= 1:
            raise ConfigError(f"NearDuplicates: threshold={self.threshold} must be above 0 and at most 1, such as 0.8.")
        if self.ngram < 1 or self.num_perm < 16:
            raise ConfigError(f"NearDuplicates: ngram={self.ngram} must be 1 or more, num_perm={self.num_perm} 16 or more.")

    def signature(self, conversation: Conversation) -> np.ndarray:
        """[num_perm] uint64. Column i is about part i mod P of the P parts that are not empty, so every band of columns is about all."""
        found = [(PARTS.index(part), text) for part in self.where if (text := joined(conversation, (part,))).strip()]
        count = max(1, len(found))
        columns = np.zeros((-(-self.num_perm // count), count), dtype=np.uint64)
        for i, (number, text) in enumerate(found):
            # Each part hashed in its own way: a question is not compared with an answer.
            columns[:, i] = signature(text, num_perm=len(columns), ngram=self.ngram, seed=self.seed * len(PARTS) + number)
        return columns.ravel()[: self.num_perm]

    def duplicate_of(self, signatures: np.ndarray) -> np.ndarray:
        """[N] int64: the first conversation of the group, -1 for that one itself."""
        if not len(signatures):
            return np.empty(0, dtype=np.int64)
        groups = near_groups(signatures, self.threshold)
        return np.where(groups == np.arange(len(groups)), -1, groups)
