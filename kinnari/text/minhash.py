"""MinHash: which of many texts are nearly the same, in Thai, Chinese and Japanese as well (characters, not words).

    signature("What is the capital of France?")   -> [128] uint64
    jaccard(signature(a), signature(b))           -> share of equal entries, an estimate of |A & B| / |A | B| over character n-grams
    near_groups(signatures, 0.8)                  -> [0, 1, 0, ...]  text 2 belongs with text 0

The standard error of the estimate is sqrt(J (1 - J) / K): 0.035 at J = 0.8 with 128 permutations. Method: Broder, "On the
resemblance and containment of documents" (1997); banding as in Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", ch. 3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

from kinnari.text.conversation import normalise_question

EMPTY = np.iinfo(np.uint64).max  # every entry of the signature of a text without characters
GRAMS_AT_A_TIME = 1024  # n-grams x permutations stay in the processor's cache, and a text of any length in memory
PAIRS_AT_A_TIME = 8192
LONGEST_RUN = 256  # records with one band in common that are compared all with all
RECALL = 0.99  # of the banding, for a pair that is exactly at the threshold

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


def signature(text: str, num_perm: int = 128, ngram: int = 5, seed: int = 0) -> np.ndarray:
    """What stands for the set of a text's character n-grams, [num_perm] uint64; for any text, however odd.

    Case, punctuation, width and spaces are folded away first. A text shorter than `ngram` is one n-gram, so short texts are
    alike only where they are equal; a text without characters has `EMPTY` throughout.
    """
    folded = normalise_question(text).replace(" ", "")
    grams = _gram_hashes(folded, ngram)
    factors, offsets = _permutations(num_perm, seed)
    least = np.full(num_perm, EMPTY, dtype=np.uint64)
    for start in range(0, len(grams), GRAMS_AT_A_TIME):
        # Wraps around at 2**64: with odd factors each row is a permutation of the 64-bit numbers.
        permuted = grams[start : start + GRAMS_AT_A_TIME, None] * factors
        permuted += offsets
        np.minimum(least, permuted.min(axis=0), out=least)
    return least


def signatures(texts: Sequence[str], num_perm: int = 128, ngram: int = 5, seed: int = 0) -> np.ndarray:
    """The signatures of `texts`, [N, num_perm] uint64."""
    rows = np.empty((len(texts), num_perm), dtype=np.uint64)
    for i, text in enumerate(texts):
        rows[i] = signature(text, num_perm, ngram, seed)
    return rows


def jaccard(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Estimated Jaccard similarity of signatures [..., K], in [0, 1]."""
    return np.mean(a == b, axis=-1)


def near_groups(signatures: np.ndarray, threshold: float) -> np.ndarray:
    """Groups of texts that are nearly the same: connected components over pairs whose estimated Jaccard is >= `threshold`.

    Pairs come from bands (equal in r neighbouring entries), so one at the threshold is missed with a probability below 1 %,
    one well above it practically never. Where over `LONGEST_RUN` different signatures share a band (rows of one template), the
    band is made longer for these: cost stays proportional to N, and pairs near the threshold are then missed more often.

    Args:
        signatures: [N, K] uint64 of `signature`.
        threshold: in (0, 1].

    Returns:
        [N] int64, for each record the index of the first member of its group.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold={threshold} must be in (0, 1].")
    if len(signatures) == 0:
        return np.zeros(0, dtype=np.int64)
    firsts, owner = _distinct(signatures)
    rows = signatures if len(firsts) == len(signatures) else signatures[firsts]
    labels = np.arange(len(rows), dtype=np.int64)
    length = rows_per_band(signatures.shape[1], threshold)
    for start in range(0, signatures.shape[1] // length * length, length):
        # The band's columns, and after them the others, to make it longer with.
        columns = np.roll(np.arange(signatures.shape[1]), -start)
        for left, right in _candidates(rows, columns, length):
            apart = labels[left] != labels[right]
            left, right = left[apart], right[apart]
            near = _at_least(rows, left, right, threshold)
            labels = join_labels(labels, left[near], right[near])
    return firsts[labels][owner]


def rows_per_band(num_perm: int, threshold: float) -> int:
    """The longest band with which a pair at the threshold still shares one of `num_perm // r` bands with probability `RECALL`."""
    for r in range(num_perm, 1, -1):
        if 1 - (1 - threshold**r) ** (num_perm // r) >= RECALL:
            return r
    return 1


def _gram_hashes(text: str, ngram: int) -> np.ndarray:
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint64)
    if len(codes) == 0:
        return codes
    length = min(ngram, len(codes))
    count = len(codes) - length + 1
    hashes = np.full(count, length, dtype=np.uint64)
    for i in range(length):
        hashes = hashes * _MULTIPLIER + codes[i : i + count]
    return _mixed(hashes)


def _mixed(x: np.ndarray) -> np.ndarray:
    """Bits spread over all 64 (the finaliser of SplitMix64): neighbours in, strangers out."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@lru_cache(maxsize=16)
def _permutations(num_perm: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    drawn = generator.integers(0, EMPTY, size=(2, num_perm), dtype=np.uint64, endpoint=True)
    return drawn[0] | np.uint64(1), drawn[1]


def _combined(columns: Iterator[np.ndarray], size: int) -> np.ndarray:
    key = np.zeros(size, dtype=np.uint64)
    for column in columns:
        key = _mixed(key * _MULTIPLIER + column)
    return key


def _distinct(signatures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(index of the first record of each different signature, ascending; which of those each record has)."""
    keys = _combined((signatures[:, k] for k in range(signatures.shape[1])), len(signatures))
    _, firsts, inverse = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(firsts)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return firsts[order].astype(np.int64), rank[inverse]


def _candidates(rows: np.ndarray, columns: np.ndarray, length: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of records that share a band: neighbours after sorting by it, then those two apart, and so on."""
    keys = _combined((rows[:, k] for k in columns[:length]), len(rows))
    members = np.argsort(keys, kind="stable")
    members, run = _runs(members, keys)
    for extra in columns[length:]:
        long = np.bincount(run)[run] > LONGEST_RUN if len(run) else np.zeros(0, bool)
        if not long.any():
            break
        keys[members[long]] = _mixed(keys[members[long]] * _MULTIPLIER + rows[members[long], extra])
        members = members[np.argsort(keys[members], kind="stable")]
        members, run = _runs(members, keys)
    at = np.arange(len(members))
    distance = 1
    while len(at):
        at = at[at + distance < len(members)]
        at = at[run[at] == run[at + distance]]
        yield members[at], members[at + distance]
        distance += 1


def _runs(members: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of records sorted by key, those that are not alone with theirs, and the number of their run."""
    sorted_keys = keys[members]
    new = np.concatenate([[True], sorted_keys[1:] != sorted_keys[:-1]]) if len(members) else np.zeros(0, bool)
    run = np.cumsum(new) - 1
    if len(run) == 0:
        return members, run
    shared = np.bincount(run)[run] > 1
    return members[shared], run[shared]


def _at_least(rows: np.ndarray, left: np.ndarray, right: np.ndarray, threshold: float) -> np.ndarray:
    near = np.zeros(len(left), dtype=bool)
    for start in range(0, len(left), PAIRS_AT_A_TIME):
        part = slice(start, start + PAIRS_AT_A_TIME)
        near[part] = jaccard(rows[left[part]], rows[right[part]]) >= threshold
    return near


def join_labels(labels: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Group labels [N] after joining the groups of left[i] and right[i]: the smallest index of each component.

    A label is an index whose own label is itself. Roots are hooked and pointers jumped until nothing changes.
    """
    while True:
        a, b = labels[left], labels[right]
        apart = a != b
        if not apart.any():
            return labels
        left, right, a, b = left[apart], right[apart], a[apart], b[apart]
        labels = labels.copy()
        np.minimum.at(labels, np.maximum(a, b), np.minimum(a, b))
        while not np.array_equal(labels, jumped := labels[labels]):
            labels = jumped
