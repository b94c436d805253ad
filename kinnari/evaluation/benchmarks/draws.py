"""Draws that depend on the seed and on what is drawn, never on its place in a file.

So the same question gets the same order of candidates, the same wrong labels and the same fate under `limit` wherever it stands,
and a shuffled file changes no prediction.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from kinnari.evaluation.question import Question

T = TypeVar("T")


def rank(seed: int, *parts: str) -> int:
    """A number in [0, 2^64), the same in every process and on every machine."""
    digest = hashlib.sha256("\x1f".join((str(seed), *parts)).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big")


def content(question: Question) -> tuple[str, ...]:
    """What a question consists of, whatever the order of its candidates; not its id, which may be its place in the file.

    What stands around the labels counts once where it is the same, as it is for a hundred classes.
    """
    around = {candidate.before + "\x1e" + candidate.after for candidate in question.candidates}
    return *sorted(around), *sorted(candidate.label for candidate in question.candidates)


def drawn(items: Sequence[T], limit: int | None, seed: int, key: Callable[[T], Sequence[str]]) -> list[T]:
    """At most `limit` of the items, in their order; a smaller limit's draw is part of a larger one's."""
    if limit is None or limit >= len(items):
        return list(items)
    chosen = sorted(range(len(items)), key=lambda place: (rank(seed, "limit", *key(items[place])), place))[:limit]
    return [items[place] for place in sorted(chosen)]


def shuffled(question: Question, seed: int) -> Question:
    """The question with its candidates in an order of its own, equally likely any, that the file's order has no say in."""
    by_text = _by_text(question, range(len(question.candidates)))
    random.Random(rank(seed, "order", *content(question))).shuffle(by_text)
    return _chosen(question, by_text)


def with_some_candidates(question: Question, most: int, seed: int) -> Question:
    """The right candidate and `most` - 1 others, in the order they had; the question itself where it has no more.

    Args:
        question: labelled.
    """
    assert question.gold is not None
    wrong = [place for place in range(len(question.candidates)) if place != question.gold]
    others = random.Random(rank(seed, "candidates", *content(question))).sample(_by_text(question, wrong), min(most - 1, len(wrong)))
    return _chosen(question, sorted([question.gold, *others]))


def _by_text(question: Question, places: Sequence[int]) -> list[int]:
    """Places in an order that the file's has no say in."""
    parts = [(candidate.label, candidate.before, candidate.after) for candidate in question.candidates]
    return sorted(places, key=lambda place: (parts[place], place))


def _chosen(question: Question, places: Sequence[int]) -> Question:
    return replace(
        question,
        candidates=tuple(question.candidates[place] for place in places),
        gold=None if question.gold is None else places.index(question.gold),
        labels=None if question.labels is None else tuple(question.labels[place] for place in places),
    )
