"""A judge is asked in both orders, and going by the place wins nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kinnari.completion.completer import Completion, CompletionSettings
from kinnari.completion.judge import Pair, PairJudge
from kinnari.evaluation.judging.template import JudgeTemplate

BARE = JudgeTemplate(user="{prompt}|{first}|{second}")


class Scripted:
    """Replies by a function of the request; None for one that failed."""

    name = "scripted"

    def __init__(self, reply: Callable[[str], str | None]) -> None:
        self.reply, self.asked, self.settings = reply, [], None

    def complete(self, prompts: Sequence, settings: CompletionSettings, on_progress: Callable = lambda done: None) -> list[Completion]:
        asked = [prompt[-1].content for prompt in prompts]
        self.asked, self.settings = self.asked + asked, settings
        texts = [self.reply(prompt) for prompt in asked]
        return [Completion("", "failed", "no answer from B") if text is None else Completion(text, "stop") for text in texts]


def pairs(*texts: tuple[str, str, str]) -> list[Pair]:
    return [Pair(prompt=p, first=a, second=b) for p, a, b in texts]


def test_a_judge_that_always_says_a_prefers_nobody():
    judged = PairJudge(Scripted(lambda request: "A"))(pairs(("q", "x", "1"), ("q", "y", "2")))
    assert [(j.verdict, j.prefers_a_place) for j in judged] == [("tie", True)] * 2


def test_a_judge_that_reads_the_answers_finds_the_better_one_in_either_place():
    def longer(request: str) -> str:
        first, second = request.split("|")[1:3]
        return "A" if len(first) > len(second) else "B" if len(second) > len(first) else "tie"

    completer = Scripted(longer)
    judged = PairJudge(completer, BARE)(pairs(("q", "long", "s"), ("q", "l", "short"), ("q", "same", "this")))
    assert [j.verdict for j in judged] == ["first", "second", "tie"]
    assert completer.asked == ["q|long|s", "q|s|long", "q|l|short", "q|short|l", "q|same|this", "q|this|same"]


def test_asked_once_the_reply_decides():
    completer = Scripted(lambda request: "B")
    (judged,) = PairJudge(completer, both_orders=False)(pairs(("q", "x", "1")))
    assert (judged.verdict, len(completer.asked), judged.prefers_a_place) == ("second", 1, None)


def test_the_template_says_how_to_decode_and_to_read():
    template = JudgeTemplate(user=BARE.user, style="first_line_scores", scale=(1, 10), max_tokens=1024, temperature=0.2, system="s")
    completer = Scripted(lambda request: "8 6" if request.endswith("b") else "5 8")
    (judged,) = PairJudge(completer, template)(pairs(("q", "a", "b")))
    assert (judged.verdict, judged.scores) == ("first", (8.0, 5.5))
    assert (completer.settings.max_tokens, completer.settings.temperature) == (1024, 0.2)
    assert [m.role for m in PairJudge(completer, template).requests(pairs(("q", "a", "b"))[0])[1]] == ["system", "user"]


def test_a_failed_request_is_unread_whatever_its_error_says():
    (judged,) = PairJudge(Scripted(lambda request: None))(pairs(("q", "x", "y")))
    assert (judged.verdict, judged.unread, judged.is_read) == ("tie", 2, False)
    assert judged.replies == ("no answer from B", "no answer from B")
