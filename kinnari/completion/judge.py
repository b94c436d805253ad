"""A language model says which of two answers is better; it is asked twice, with the answers in either order.

first A, then B      A   A   B   tie
first B, then A      A   B   B   A
verdict              A  tie  B   A       a judge that goes by the place contradicts itself, and that is a tie
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from kinnari.completion.completer import Completer, CompletionSettings
from kinnari.errors import ConfigError

log = logging.getLogger(__name__)

Verdict = Literal["first", "second", "tie"]

ASKED = (
    "Below are a question and two answers to it. Which answer is more helpful, relevant, accurate and detailed? Neither their order nor "
    "their length matters. Reply with A, B or tie and nothing else.\n\nQuestion:\n{prompt}\n\nAnswer A:\n{first}\n\nAnswer B:\n{second}"
    "\n\nBetter answer:"
)
_PARTS = ("{prompt}", "{first}", "{second}")


@dataclass(frozen=True)
class Judgement:
    """What came of both questions about one pair; `unread` counts replies that said none of A, B and tie."""

    verdict: Verdict
    replies: tuple[str, str]
    unread: int


class PairJudge:
    """Compares pairs of answers.

    Args:
        completer: who is asked.
        instruction: holds {prompt}, {first} and {second}, and asks for A, B or tie.

    Raises:
        ConfigError: a part is missing in the instruction.
    """

    def __init__(self, completer: Completer, instruction: str = ASKED) -> None:
        missing = [part for part in _PARTS if part not in instruction]
        if missing:
            raise ConfigError(f"The judge's instruction holds no {' and no '.join(missing)}; it must hold {', '.join(_PARTS)}.")
        self.completer, self.instruction = completer, instruction

    def __call__(
        self, prompts: Sequence[str], first: Sequence[str], second: Sequence[str], on_progress: Callable[[int], None] = lambda done: None
    ) -> list[Judgement]:
        """One judgement for each prompt and its two answers."""
        rows = list(zip(prompts, first, second, strict=True))
        requests = [self._request(p, a, b) for p, a, b in rows] + [self._request(p, b, a) for p, a, b in rows]
        replies = self.completer.complete(requests, CompletionSettings(max_tokens=16, temperature=0.0), on_progress)
        judged = [judgement(one.text or one.error or "", two.text or two.error or "", one.error is None, two.error is None)
                  for one, two in zip(replies[: len(rows)], replies[len(rows) :], strict=True)]  # fmt: skip
        unread = sum(j.unread for j in judged)
        if unread:
            log.warning("%d of %d replies of %s name no answer and count as ties", unread, len(requests), self.completer.name)
        return judged

    def _request(self, prompt: str, first: str, second: str) -> str:
        # not str.format: a question may hold braces
        parts = dict(zip(_PARTS, (prompt, first, second), strict=True))
        return re.sub(r"\{prompt\}|\{first\}|\{second\}", lambda match: parts[match[0]], self.instruction)


def judgement(straight: str, swapped: str, straight_came: bool = True, swapped_came: bool = True) -> Judgement:
    """Of the replies to (first, second) and to (second, first)."""
    one = read_verdict(straight) if straight_came else None
    two = read_verdict(swapped) if swapped_came else None
    points = {"first": 1, "second": -1}
    total = points.get(one or "", 0) - points.get(two or "", 0)
    verdict: Verdict = "first" if total > 0 else "second" if total < 0 else "tie"
    return Judgement(verdict, (straight, swapped), (one is None) + (two is None))


def read_verdict(reply: str) -> Verdict | None:
    """`A` is the first, `B` the second, tie neither; None where the reply says nothing of it or several."""
    said = {word.casefold() for word in re.findall(r"\b(?:A|B|[Tt]ie|TIE)\b", reply)}
    found: dict[str, Verdict] = {"a": "first", "b": "second", "tie": "tie"}
    return found[said.pop()] if len(said) == 1 else None
