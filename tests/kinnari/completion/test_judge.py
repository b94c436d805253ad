"""A judge is asked in both orders, and going by the place wins nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from kinnari.completion.completer import Completion, CompletionSettings
from kinnari.completion.judge import PairJudge, judgement, read_verdict
from kinnari.errors import ConfigError


class Scripted:
    """Replies by a function of the request; `none` for one that failed."""

    name = "scripted"

    def __init__(self, reply: Callable[[str], str | None]) -> None:
        self.reply, self.asked = reply, []

    def complete(self, prompts: Sequence, settings: CompletionSettings, on_progress: Callable = lambda done: None) -> list[Completion]:
        self.asked += prompts
        texts = [self.reply(prompt) for prompt in prompts]
        return [Completion("", "failed", "no connection") if text is None else Completion(text, "stop") for text in texts]


@pytest.mark.parametrize(
    ("reply", "read"),
    [("A", "first"), ("B.", "second"), ("Tie", "tie"), ("**A**", "first"), ("Answer B", "second"), ("A or B", None), ("", None),
     ("a good question", None), ("C", None)],
)  # fmt: skip
def test_a_reply_names_one_answer_or_none(reply, read):
    assert read_verdict(reply) == read


@pytest.mark.parametrize(
    ("straight", "swapped", "verdict", "unread"),
    [("A", "B", "first", 0), ("B", "A", "second", 0), ("A", "A", "tie", 0), ("B", "B", "tie", 0), ("A", "tie", "first", 0),
     ("tie", "A", "second", 0), ("tie", "tie", "tie", 0), ("?", "B", "first", 1), ("?", "?", "tie", 2)],
)  # fmt: skip
def test_both_orders_make_a_verdict(straight, swapped, verdict, unread):
    found = judgement(straight, swapped)
    assert (found.verdict, found.unread) == (verdict, unread)


def test_a_judge_that_always_says_a_prefers_nobody():
    judged = PairJudge(Scripted(lambda request: "A"))(["q"] * 3, ["x", "y", "z"], ["1", "2", "3"])
    assert [j.verdict for j in judged] == ["tie"] * 3


def test_a_judge_that_reads_the_answers_finds_the_better_one_in_either_place():
    def longer(request: str) -> str:
        first, second = request.split("|")[1:3]
        return "A" if len(first) > len(second) else "B" if len(second) > len(first) else "tie"

    completer = Scripted(longer)
    judged = PairJudge(completer, "{prompt}|{first}|{second}")(["q"] * 3, ["long", "l", "same"], ["s", "short", "this"])
    assert [j.verdict for j in judged] == ["first", "second", "tie"]
    assert completer.asked == ["q|long|s", "q|l|short", "q|same|this", "q|s|long", "q|short|l", "q|this|same"]


def test_braces_in_a_question_are_text():
    completer = Scripted(lambda request: "tie")
    PairJudge(completer, "{prompt}|{first}|{second}")(["{first} {x}"], ["{second}"], ["b"])
    assert completer.asked[0] == "{first} {x}|{second}|b"


def test_a_failed_request_counts_as_unread_whatever_its_error_says():
    (judged,) = PairJudge(Scripted(lambda request: None))(["q"], ["x"], ["y"])
    assert (judged.verdict, judged.unread) == ("tie", 2)
    (judged,) = [judgement("A", "no answer from B", True, False)]
    assert (judged.verdict, judged.unread) == ("first", 1)


def test_an_instruction_without_the_answers_is_refused():
    with pytest.raises(ConfigError, match=r"no \{second\}"):
        PairJudge(Scripted(lambda request: "A"), "{prompt} {first}")
