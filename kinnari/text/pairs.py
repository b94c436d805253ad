"""Preference pairs from ranked answers.

    scores 3, 2, 2, 1     adjacent: 1 over 2, 1 over 3, 3 over 4         all: 1>2, 1>3, 1>4, 2>4, 3>4

Adjacent pairs are those of sunzeyeah/RLHF: each answer is the rejected one for the nearest answer above it after which the score
drops, so that n answers give at most n - 1 pairs. Before pairing, blank answers go, and an answer that is there twice counts once,
with its better place: otherwise a pair and its opposite could both be made.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Sequence
from copy import copy
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, overload

import numpy as np

from kinnari.errors import ConfigError
from kinnari.text.conversation import Conversation, Message
from kinnari.text.ranked import PreferencePair, RankedAnswers, ScoredAnswer


def pairs(ranked: RankedAnswers, construction: str = "adjacent", most: int | None = None) -> list[PreferencePair]:
    """The pairs of one prompt; chosen and rejected bear the record id of the prompt with their places, as in `weibo:7/0-2`.

    Args:
        ranked: answers; scored ones are brought in order of score first.
        construction: `adjacent` or `all`.
        most: keep at most so many pairs of a prompt, drawn by its record id alone; None for all.

    Raises:
        ConfigError: for another construction, or a `most` below 1.
    """
    if construction not in ("adjacent", "all"):
        raise ConfigError(f"construction={construction!r} is not known. Use adjacent (at most n - 1 pairs of n answers) or all.")
    if most is not None and most < 1:
        raise ConfigError(f"most={most} pairs of a prompt leave nothing to train on. Give 1 or more, or null for all of them.")
    ranked = replace(ranked, answers=best_first(ranked.answers))
    return [pair_at(ranked, i, j) for i, j in pair_places(ranked, construction, most)]


def pair_places(ranked: RankedAnswers, construction: str = "adjacent", most: int | None = None) -> list[tuple[int, int]]:
    """The places (chosen, rejected) of the pairs among the answers, which must be best first; arguments as in `pairs`."""
    if construction not in ("adjacent", "all"):
        raise ConfigError(f"construction={construction!r} is not known. Use adjacent (at most n - 1 pairs of n answers) or all.")
    if most is not None and most < 1:
        raise ConfigError(f"most={most} pairs of a prompt leave nothing to train on. Give 1 or more, or null for all of them.")
    places = _adjacent(ranked.answers) if construction == "adjacent" else _all(ranked.answers)
    if most is None or most >= len(places):
        return places
    seed = int.from_bytes(hashlib.sha256(ranked.record_id.encode("utf-8", "surrogatepass")).digest()[:8], "big")
    drawn = np.random.default_rng(seed).choice(len(places), size=most, replace=False)
    return [places[i] for i in sorted(drawn.tolist())]


def adjacent_pairs(ranked: RankedAnswers) -> list[PreferencePair]:
    """Each answer against the nearest one above it after which the score drops."""
    return pairs(ranked, "adjacent")


def all_pairs(ranked: RankedAnswers) -> list[PreferencePair]:
    """Every two answers of different score, the better one chosen."""
    return pairs(ranked, "all")


def pair_at(ranked: RankedAnswers, i: int, j: int) -> PreferencePair:
    """Answer i as the chosen one against answer j."""

    def conversation(place: int) -> Conversation:
        return Conversation(
            messages=(*ranked.prompt, Message("assistant", ranked.answers[place].answer)),
            record_id=f"{ranked.record_id}/{i}-{j}",
            source=ranked.source,
            language=ranked.language,
            licence=ranked.licence,
        )

    chosen, rejected = conversation(i), conversation(j)
    return PreferencePair(chosen=chosen, rejected=rejected, score_chosen=ranked.answers[i].score, score_rejected=ranked.answers[j].score)


class PairTable(Sequence[PreferencePair]):
    """The pairs of many prompts, made when they are asked for: 12 bytes a pair instead of two conversations.

    Args:
        prompts: prompts with their answers, shared with whoever else holds them.
        construction, most: as in `pairs`.
    """

    def __init__(self, prompts: Iterable[RankedAnswers], construction: str = "adjacent", most: int | None = None) -> None:
        self.prompts = [replace(ranked, answers=best_first(ranked.answers)) for ranked in prompts]
        found = [(n, i, j) for n, ranked in enumerate(self.prompts) for i, j in pair_places(ranked, construction, most)]
        self.places = np.array(found, dtype=np.int32).reshape(-1, 3)

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> PreferencePair: ...

    @overload
    def __getitem__(self, index: slice) -> list[PreferencePair]: ...

    def __getitem__(self, index: int | slice) -> PreferencePair | list[PreferencePair]:
        """Pair `index`, or those of a slice."""
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        n, i, j = self.places[index].tolist()
        return pair_at(self.prompts[n], i, j)

    def without(self, gone: Collection[int]) -> PairTable:
        """The same table without the pairs numbered in `gone`."""
        rest = copy(self)
        rest.places = np.delete(self.places, sorted(gone), axis=0)
        return rest


def best_first(answers: Iterable[ScoredAnswer]) -> tuple[ScoredAnswer, ...]:
    """Scored answers by falling score, equal ones in their order; left as they are if any has no score."""
    answers = tuple(answers)
    scores = [a.score for a in answers]
    if any(score is None for score in scores):
        return answers
    return tuple(sorted(answers, key=lambda a: -(a.score or 0.0)))


def write_pairs(pairs: Iterable[PreferencePair], path: Path) -> int:
    """Write one json object a line and return their number.

    {"record_id", "source", "language", "prompt": [{"role", "content", "context"?}], "chosen", "rejected", "score_chosen", "score_rejected"}
    """
    count = 0
    # A lone surrogate becomes its JSON escape.
    with open(path, "w", encoding="utf-8", errors="backslashreplace") as out:
        for count, pair in enumerate(pairs, start=1):  # noqa: B007
            out.write(json.dumps(pair_row(pair), ensure_ascii=False) + "\n")
    return count


def pair_row(pair: PreferencePair) -> dict[str, Any]:
    """What `write_pairs` writes of a pair."""
    return {
        "record_id": pair.chosen.record_id,
        "source": pair.chosen.source,
        "language": pair.chosen.language,
        "prompt": [_message_row(message) for message in pair.chosen.prompt()],
        "chosen": pair.chosen.reference(),
        "rejected": pair.rejected.reference(),
        "score_chosen": pair.score_chosen,
        "score_rejected": pair.score_rejected,
    }


def _message_row(message: Message) -> dict[str, str]:
    row = {"role": message.role, "content": message.content}
    return row | {"context": message.context} if message.context else row


def _usable(answers: tuple[ScoredAnswer, ...]) -> list[int]:
    seen: dict[str, int] = {}
    for i, answer in enumerate(answers):
        text = answer.answer.strip()
        if text:
            seen.setdefault(text, i)
    return list(seen.values())


def _better(one: ScoredAnswer, other: ScoredAnswer) -> bool:
    """Whether the earlier `one` ranks above `other`: by score, by place alone where either has none."""
    return one.score is None or other.score is None or one.score > other.score


def _adjacent(answers: tuple[ScoredAnswer, ...]) -> list[tuple[int, int]]:
    places = _usable(answers)
    found: list[tuple[int, int]] = []
    chosen: int | None = None
    for above, below in pairwise(places):
        if _better(answers[above], answers[below]):
            chosen = above
        if chosen is not None:
            found.append((chosen, below))
    return found


def _all(answers: tuple[ScoredAnswer, ...]) -> list[tuple[int, int]]:
    places = _usable(answers)
    return [(i, j) for n, i in enumerate(places) for j in places[n + 1 :] if _better(answers[i], answers[j])]
