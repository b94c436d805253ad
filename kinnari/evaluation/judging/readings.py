"""What a judge's reply says: two scores, or which answer is better; None where it cannot be read.

style                  reply                                         read
first_digit_scores     "Scores: 0.8 0.9\\nThe first ..."              0.8 and 0.9: second
first_line_scores      "8, 9\\nThe first ..."                         8 and 9: second
last_line_class        "Both are right, the first is short.\\n2"      second; 3 is a tie
letter                 "A", "Answer B.", "tie"                       first, second, tie

The rules are those of the systems whose replies are read with them. Where they differ from common sense they are kept, so that stored
replies give the numbers that were published.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["first", "second", "tie"]
Style = Literal["letter", "first_digit_scores", "first_line_scores", "last_line_class"]
Scores = tuple[float, float]

_CLASSES: dict[str, Verdict] = {"1": "first", "2": "second", "3": "tie"}
_LETTERS: dict[str, Verdict] = {"a": "first", "b": "second", "tie": "tie"}


@dataclass(frozen=True)
class Reading:
    """What one reply says; without a verdict it could not be read. Scores only where the style has some."""

    verdict: Verdict | None = None
    scores: Scores | None = None

    def swapped(self) -> Reading:
        """The same, said of the answers in their other order."""
        other: dict[Verdict | None, Verdict | None] = {"first": "second", "second": "first", "tie": "tie", None: None}
        return Reading(other[self.verdict], self.scores and (self.scores[1], self.scores[0]))


UNREAD = Reading()


def read(reply: str, style: Style, scale: Scores | None = None) -> Reading:
    """What a reply says.

    Args:
        scale: lowest and highest score that there is; a reply with another one is not read ("8 9" where 0 to 1 was asked for).
    """
    if style in _SCORES:
        return _by_scores(_SCORES[style](reply), scale)
    return Reading(_VERDICTS[style](reply))


def first_digit_scores(reply: str) -> Scores | None:
    """WangChanGLM's rule: drop what is before the first digit, take that line, keep digits, points, spaces; the first two numbers."""
    begin = re.search(r"\d", reply)
    line = reply[begin.start() :].split("\n")[0] if begin else ""
    return _numbers(re.sub(r"[^\d. ]", "", line).split()[:2])


def first_line_scores(reply: str) -> Scores | None:
    """The rule of Vicuna's and QLoRA's evaluation: the first line is two numbers and nothing else, parted by spaces or commas."""
    return _numbers(reply.strip().split("\n")[0].replace(",", " ").split())


def last_line_class(reply: str) -> Verdict | None:
    """QLoRA's three-class rule: the last line is 1, 2 or 3."""
    return _CLASSES.get(reply.strip().split("\n")[-1].strip())


def letter(reply: str) -> Verdict | None:
    """`A` is the first, `B` the second, tie neither; None where the reply says nothing of it or several."""
    said = {word.casefold() for word in re.findall(r"\b(?:A|B|[Tt]ie|TIE)\b", reply)}
    return _LETTERS[said.pop()] if len(said) == 1 else None


_SCORES: dict[str, Callable[[str], Scores | None]] = {"first_digit_scores": first_digit_scores, "first_line_scores": first_line_scores}
_VERDICTS: dict[str, Callable[[str], Verdict | None]] = {"last_line_class": last_line_class, "letter": letter}
STYLES = (*_SCORES, *_VERDICTS)


def has_scores(style: Style) -> bool:
    """Whether replies of a style hold scores."""
    return style in _SCORES


def _by_scores(scores: Scores | None, scale: Scores | None) -> Reading:
    if scores is None or (scale is not None and not all(scale[0] <= score <= scale[1] for score in scores)):
        return UNREAD
    return Reading("first" if scores[0] > scores[1] else "second" if scores[1] > scores[0] else "tie", scores)


def _numbers(words: list[str]) -> Scores | None:
    try:
        first, second = map(float, words)
    except ValueError:  # a word that is no number, or not two of them
        return None
    return (first, second) if math.isfinite(first) and math.isfinite(second) else None
