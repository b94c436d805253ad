"""A language model says which of two answers is better; it is asked twice, with the answers in either order.

How it is asked and read is a `JudgeTemplate`, what comes of the replies a `Judgement`: kinnari/evaluation/judging/.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kinnari.completion.completer import Completer, Completion, CompletionSettings
from kinnari.evaluation.judging.readings import UNREAD
from kinnari.evaluation.judging.template import JudgeTemplate
from kinnari.evaluation.judging.verdicts import Judgement, judgement
from kinnari.text.conversation import Message

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A question and two answers to it; `category` chooses the instruction, `reference` is a right answer if there is one."""

    prompt: str
    first: str
    second: str
    category: str = ""
    reference: str = ""


class PairJudge:
    """Compares pairs of answers.

    Args:
        completer: who is asked.
        template: how; the default asks for A, B or tie.
        both_orders: False asks once, in the given order, as the published systems did.
    """

    def __init__(self, completer: Completer, template: JudgeTemplate = JudgeTemplate(), *, both_orders: bool = True) -> None:  # noqa: B008, frozen
        self.completer, self.template, self.both_orders = completer, template, both_orders

    def __call__(self, pairs: Sequence[Pair], on_progress: Callable[[int], None] = lambda done: None) -> list[Judgement]:
        """One judgement for each pair; `on_progress` is told how many requests are answered."""
        settings = CompletionSettings(max_tokens=self.template.max_tokens, temperature=self.template.temperature)
        requests = [request for pair in pairs for request in self.requests(pair)]
        replies = self.completer.complete(requests, settings, on_progress)
        judged = self._judgements(replies)
        unread = sum(one.unread for one in judged)
        if unread:
            log.warning("%d of %d replies of %s cannot be read", unread, len(requests), self.completer.name)
        return judged

    def requests(self, pair: Pair) -> list[list[Message]]:
        """What is asked about a pair, one chat or two."""
        about = {"category": pair.category, "reference": pair.reference}
        given = self.template.messages(pair.prompt, pair.first, pair.second, **about)
        return [given, self.template.messages(pair.prompt, pair.second, pair.first, **about)] if self.both_orders else [given]

    def _judgements(self, replies: Sequence[Completion]) -> list[Judgement]:
        readings = [self.template.read(reply.text) if reply.error is None else UNREAD for reply in replies]
        texts = [reply.text if reply.error is None else reply.error for reply in replies]
        step = 1 + self.both_orders
        return [judgement(texts[i : i + step], readings[i : i + step]) for i in range(0, len(replies), step)]
