"""Solved examples in front of a question: chosen once, the same for all candidates of all questions that share a pool."""

from __future__ import annotations

import heapq
import logging
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter

from kinnari.errors import ConfigError
from kinnari.evaluation.benchmarks.benchmark import CountTokens
from kinnari.evaluation.benchmarks.draws import content, rank
from kinnari.evaluation.question import Question

log = logging.getLogger(__name__)
_PLACE = itemgetter(0, 1)  # rank, then content: a tie of ranks must not compare questions
MARGIN = 2  # tokens: where texts are joined a tokenizer may need more of them than for the texts apart


@dataclass(frozen=True)
class Shots:
    """What stands in front of questions of one pool.

    Attributes:
        texts: solved examples, in the order in which they are shown.
        separator: behind each.
        intro: in front of all; of exams the line that names the subject.
    """

    texts: tuple[str, ...]
    separator: str
    intro: str = ""

    def header(self, number: int | None = None) -> str:
        """The text of the first `number` shots, or all; empty without shots and intro."""
        return self.intro + "".join(text + self.separator for text in self.texts[:number])


def solved(question: Question) -> str:
    """The question with its right candidate, as a shot."""
    assert question.gold is not None
    return question.candidates[question.gold].text


def chosen(pool: Iterable[Question], number: int, seed: int, balanced: bool = False, evaluated: Sequence[Question] = ()) -> list[Question]:
    """That many labelled questions of a pool, drawn by what they hold: another order of the file draws the same.

    Args:
        balanced: takes one class after the other, each as often as the number allows; needs classes.
        evaluated: questions that are no shots: sets overlap, and such a shot would tell the answer.
    """
    known = {content(question) for question in evaluated}
    keyed = ((content(question), question) for question in pool if question.gold is not None)
    ranked = ((rank(seed, "shots", *held), held, question) for held, question in keyed if held not in known)
    if balanced:
        return _balanced([question for *_, question in sorted(ranked, key=_PLACE)], number, seed)
    return [question for *_, question in heapq.nsmallest(number, ranked, key=_PLACE)]


def _balanced(ranked: Sequence[Question], number: int, seed: int) -> list[Question]:
    by_class: dict[str, list[Question]] = defaultdict(list)
    for question in ranked:
        if question.labels is None or question.gold is None:
            raise ConfigError("shots_balanced=true needs a benchmark whose questions share their classes; this one's choices are its own.")
        by_class[question.labels[question.gold]].append(question)
    order = sorted(by_class, key=lambda name: rank(seed, "class", name))
    rounds: list[Question] = []
    for turn in range(number):
        rounds += [by_class[name][turn] for name in order if turn < len(by_class[name])]
    rounds = rounds[:number]
    random.Random(rank(seed, "mix")).shuffle(rounds)  # else the last shots would always be of the same classes
    return rounds


def within(shots: Shots, most: int | None, count_tokens: CountTokens | None, name: str) -> Shots:
    """The first shots whose tokens, with the intro's, are at most `most`.

    Raises:
        ConfigError: not one of them fits, or tokens cannot be counted.
    """
    if most is None or not shots.texts:
        return shots
    if count_tokens is None:
        raise ConfigError(f"benchmark.shot_tokens={most} of benchmark={name} needs a tokenizer to count with: questions(count_tokens=...).")
    number = len(shots.texts)
    while number and count_tokens(shots.header(number)) > most:
        number -= 1
    if not number:
        raise ConfigError(
            f"benchmark.shot_tokens={most}: the first shot of benchmark={name} alone has {count_tokens(shots.header(1))} tokens. "
            "Allow more, or set benchmark.shots=0."
        )
    if number < len(shots.texts):
        log.warning("benchmark=%s: %d of %d shots fit in benchmark.shot_tokens=%d", name, number, len(shots.texts), most)
    return replace(shots, texts=shots.texts[:number])


def fitting(question: Question, shots: Shots, most: int | None, count_tokens: CountTokens | None) -> str:
    """The header of a question: all shots, or the first ones with which its longest candidate has at most `most` tokens.

    A question that is too long by itself gets no shots; what then happens to it is the scorer's business.
    """
    if most is None or count_tokens is None or not shots.texts:
        return shots.header()
    room = most - MARGIN - max(count_tokens(candidate.text) for candidate in question.candidates)
    number = len(shots.texts)
    while number and count_tokens(shots.header(number)) > room:
        number -= 1
    return shots.header(number)
