"""Conversations of the page: what the model sees again, answers as they grow, errors as sentences, replies that end with their reader."""

from __future__ import annotations

import threading

import pytest

from kinnari.errors import ConfigError
from kinnari.serving.chat_model import AnswerTimeoutError, ChatRequest, PromptTooLongError, QueueFullError, RequestRefusedError
from kinnari.serving.exchanges import Exchange, LiveReplies, Progress, growing, messages_for, together
from kinnari.serving.page_texts import TEXTS
from kinnari.text.conversation import Message
from tests.kinnari.serving.scripted import ScriptedModel

EN = TEXTS["en"]
REQUEST = ChatRequest(messages=(Message("user", "hello you"),))
EARLIER = [Exchange("q1", "a1"), Exchange("q2", "", "too long"), Exchange("q3", "a3", "cut")]


@pytest.mark.parametrize(
    ("history", "seen"),
    [(0, ["now"]), (1, ["q3", "a3", "now"]), (2, ["q1", "a1", "q3", "a3", "now"]), (9, ["q1", "a1", "q3", "a3", "now"])],
)
def test_the_last_exchanges_with_an_answer_are_seen_again(history, seen):
    assert [message.content for message in messages_for(EARLIER, "now", system="", history=history)] == seen
    with_system = messages_for(EARLIER, "now", system=" Be kind. ", history=history)
    assert [(m.role, m.content) for m in with_system[:1]] == [("system", "Be kind.")] and len(with_system) == len(seen) + 1


def test_an_answer_grows_to_its_end_and_is_let_go():
    live, model = LiveReplies(), ScriptedModel(pace=0.06)
    progress = list(growing(model, REQUEST, live, "me", EN))
    assert [p.text for p in progress] == ["echo ", "echo heard: ", "echo heard: hello ", "echo heard: hello you ", "echo heard: hello you "]
    assert not any(p.error for p in progress) and len(live) == 0 and not model.running


def test_whoever_stops_reading_frees_the_row():
    live, model = LiveReplies(), ScriptedModel()
    reading = growing(model, REQUEST, live, "me", EN)
    next(reading)
    assert len(live) == 1 and model.running
    reading.close()
    assert len(live) == 0 and not model.running


def test_cancelling_ends_the_answers_of_one_owner_alone():
    live, model = LiveReplies(), ScriptedModel()
    model.gate.clear()
    mine, other = growing(model, REQUEST, live, "me", EN), growing(model, REQUEST, live, "you", EN)
    next(mine), next(other)
    live.cancel("me")
    live.cancel("nobody")
    assert list(mine)[-1].error == "" and len(model.running) == 1
    model.gate.set()
    assert list(other)[-1].text == "echo heard: hello you "


@pytest.mark.parametrize("language", TEXTS)
@pytest.mark.parametrize(
    ("problem", "field"),
    [(PromptTooLongError, "error_too_long"), (QueueFullError, "error_queue"), (AnswerTimeoutError, "error_timeout"),
     (RequestRefusedError, "error_refused"), (ConfigError, "error_refused")],
)  # fmt: skip
def test_a_refusal_is_a_sentence_of_the_page_and_the_models_own(language, problem, field):
    class Refusing(ScriptedModel):
        def answer(self, request):
            raise problem("Because of 7.")

    assert list(growing(Refusing(), REQUEST, LiveReplies(), "me", TEXTS[language])) == [
        Progress("", f"{vars(TEXTS[language])[field]} Because of 7.")
    ]


def test_an_error_in_the_middle_keeps_what_was_said_and_tells_nothing_of_the_server(caplog):
    class Broken(ScriptedModel):
        def answer(self, request):
            reply = super().answer(request)
            reply.pieces = (piece if number < 2 else 1 / 0 for number, piece in enumerate(reply.pieces))
            return reply

    model, live = Broken(), LiveReplies()
    last = list(growing(model, REQUEST, live, "me", EN))[-1]
    assert last == Progress("echo heard: ", EN.error_unexpected)
    assert "ZeroDivisionError" in caplog.text and len(live) == 0 and not model.running


def test_two_answers_grow_together():
    models, live = [ScriptedModel("slow"), ScriptedModel("quick")], LiveReplies()
    models[0].gate.clear()
    seen = []
    for now in together(*(growing(model, REQUEST, live, "me", EN) for model in models)):
        seen.append(now)
        if now[1].text.endswith("you "):
            models[0].gate.set()
    assert seen[-1] == (Progress("slow heard: hello you "), Progress("quick heard: hello you "))
    assert any(now[1].text.endswith("you ") and not now[0].text.endswith("you ") for now in seen), "neither waits for the other"


def test_leaving_two_answers_and_cancelling_ends_their_threads():
    models, live = [ScriptedModel("a"), ScriptedModel("b")], LiveReplies()
    for model in models:
        model.gate.clear()
    before = threading.active_count()
    reading = together(*(growing(model, REQUEST, live, "me", EN) for model in models))
    next(reading)
    reading.close()
    while any(not model.running for model in models) and len(live) < 2:
        pass
    live.cancel("me")
    for thread in [t for t in threading.enumerate() if t.name.startswith("answer-")]:
        thread.join(timeout=10)
    assert threading.active_count() == before and len(live) == 0
