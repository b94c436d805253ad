"""The client of an endpoint against a server on the loopback: order, repeats, bounds, and the key that goes nowhere else."""

from __future__ import annotations

import logging
import time

import pytest

from kinnari.completion.completer import Completion, CompletionSettings
from kinnari.completion.endpoint import EndpointCompleter
from kinnari.completion.retrying import Backoff
from kinnari.errors import ConfigError
from kinnari.text.conversation import Message
from tests.kinnari.completion.server import Reply, chat_answer, serving, text_answer

KEY = "sk-loopback-0123456789abcdef"
SETTINGS = CompletionSettings(max_tokens=100, temperature=0.5, stop=("\n20", "20.", "20."))
QUICK = Backoff(attempts=4, first_s=0.01, longest_s=0.05)


def ask(url, prompts, settings=SETTINGS, **options):
    return EndpointCompleter(url, "m", **{"backoff": QUICK, "timeout_s": 5.0, **options}).complete(prompts, settings)


def test_completions_come_in_the_order_of_the_prompts_however_long_each_takes():
    def script(number, body):
        text = body["messages"][0]["content"]
        return Reply(body=chat_answer(f"to {text}"), delay_s=0.05 if text == "0" else 0.0)

    done: list[int] = []
    with serving(script) as seen:
        completer = EndpointCompleter(seen.url, "m", parallel=4)
        answers = completer.complete([str(i) for i in range(12)], SETTINGS, done.append)
    assert [a.text for a in answers] == [f"to {i}" for i in range(12)]
    assert sorted(set(done) | {0}) == list(range(13)) and done == sorted(done)
    assert 1 < seen.most_under_way <= 4


def test_somebody_who_waits_is_told_so_before_the_first_answer(monkeypatch):
    monkeypatch.setattr("kinnari.completion.endpoint.TELL_EVERY_S", 0.02)
    done: list[int] = []
    with serving(lambda number, body: Reply(body=chat_answer("late"), delay_s=0.2)) as seen:
        EndpointCompleter(seen.url, "m").complete(["Q"], SETTINGS, done.append)
    assert done[0] == 0 and done[-1] == 1 and len(done) > 3


def test_a_request_says_what_was_set_and_nothing_else():
    with serving(lambda number, body: Reply(body=text_answer("x", "length"))) as seen:
        settings = CompletionSettings(max_tokens=7, presence_penalty=2.0, logit_bias={50256: -100.0}, seed=3, stop=("a", "a", "b"))
        assert ask(seen.url + "/", ["Say"], settings, chat=False) == [Completion("x", "length")]
    assert seen.paths == ["/v1/completions"]
    assert seen.bodies == [
        {"model": "m", "prompt": "Say", "max_tokens": 7, "temperature": 1.0, "top_p": 1.0, "presence_penalty": 2.0,
         "logit_bias": {"50256": -100.0}, "seed": 3, "stop": ["a", "b"]}
    ]  # fmt: skip


def test_a_chat_is_sent_with_its_roles_and_context():
    with serving(lambda number, body: Reply(body=chat_answer("ครับ"))) as seen:
        chat = [Message("system", "Be brief."), Message("user", "แปล", context="Good morning")]
        assert ask(seen.url, [chat]) == [Completion("ครับ", "stop")]
    assert seen.paths == ["/v1/chat/completions"]
    expected = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "แปล\n\nGood morning"}]
    assert seen.bodies[0]["messages"] == expected


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 529])
def test_what_may_pass_is_asked_again(status):
    with serving(lambda number, body: Reply(status, "busy") if number < 3 else Reply(body=chat_answer("at last"))) as seen:
        assert ask(seen.url, ["Q"]) == [Completion("at last", "stop")]
    assert len(seen.bodies) == 4


def test_asking_ends_after_the_attempts_and_says_why():
    with serving(lambda number, body: Reply(500, "down for good")) as seen:
        (answer,) = ask(seen.url, ["Q"])
    assert len(seen.bodies) == 4
    assert answer == Completion("", "failed", "status 500: down for good (4 attempts)")


@pytest.mark.parametrize("body", ["{not json", "[]", '{"choices": []}', '{"choices": [{"message": {"content": 5}}]}', "null", ""])
def test_an_unreadable_answer_is_asked_for_again(body):
    with serving(lambda number, b: Reply(body=body) if number == 0 else Reply(body=chat_answer("read"))) as seen:
        assert ask(seen.url, ["Q"])[0].text == "read"


def test_a_server_that_does_not_answer_is_asked_again():
    with serving(lambda number, body: Reply(body=chat_answer("late"), delay_s=0.6 if number == 0 else 0.0)) as seen:
        assert ask(seen.url, ["Q"], timeout_s=0.2)[0].text == "late"
    assert len(seen.bodies) == 2


def test_nobody_there_is_a_failed_completion_and_no_exception():
    (answer,) = ask("http://127.0.0.1:9/v1", ["Q"])
    assert answer.finish_reason == "failed" and "no connection" in str(answer.error)


def test_one_failed_prompt_stops_no_other():
    def script(number, body):
        bad = body["messages"][0]["content"] == "bad"
        return Reply(400, "invalid request") if bad else Reply(body=chat_answer("good"))

    with serving(script) as seen:
        answers = ask(seen.url, ["good", "bad", "good"])
    assert [a.finish_reason for a in answers] == ["stop", "failed", "stop"]
    assert len(seen.bodies) == 3  # a mistake in the request is not repeated


def test_too_long_a_request_is_shortened_by_a_fifth_until_it_fits():
    def script(number, body):
        fits = body["max_tokens"] <= 60
        return Reply(body=chat_answer("fits")) if fits else Reply(400, {"error": {"message": "Please reduce your prompt; or length"}})

    with serving(script) as seen:
        assert ask(seen.url, ["Q"])[0].text == "fits"
    assert [body["max_tokens"] for body in seen.bodies] == [100, 80, 64, 51]


def test_a_prompt_that_never_fits_ends():
    with serving(lambda number, body: Reply(400, {"error": {"code": "context_length_exceeded"}})) as seen:
        (answer,) = ask(seen.url, ["Q"])
    assert answer.finish_reason == "failed" and "context_length" in str(answer.error)
    assert [body["max_tokens"] for body in seen.bodies] == [100, 80, 64, 51, 40, 32, 25, 20, 16]


def test_the_servers_wish_to_wait_is_granted_within_bounds():
    with serving(lambda n, body: Reply(429, "", {"Retry-After": "1000"}) if n == 0 else Reply(body=chat_answer("x"))) as seen:
        began = time.monotonic()
        ask(seen.url, ["Q"], backoff=Backoff(attempts=2, first_s=0.0, longest_s=0.3))
    assert 0.3 <= time.monotonic() - began < 2


def test_a_model_that_wants_the_newer_name_of_max_tokens_gets_it():
    def script(number, body):
        if "max_tokens" in body:
            return Reply(400, {"error": {"message": "Unsupported parameter: use 'max_completion_tokens' instead."}})
        return Reply(body=chat_answer(str(body["max_completion_tokens"])))

    with serving(script) as seen:
        assert ask(seen.url, ["Q"])[0].text == "100"


@pytest.mark.parametrize("answer", [chat_answer("half", "content_filter"), chat_answer(None)])
def test_a_withheld_answer_is_failed(answer):
    with serving(lambda number, body: Reply(body=answer)) as seen:
        assert ask(seen.url, ["Q"])[0].finish_reason == "failed"


def test_the_key_reaches_the_server_and_nothing_else(monkeypatch, caplog):
    monkeypatch.setenv("LOOPBACK_KEY", KEY)
    refusal = {"error": {"message": f"Incorrect API key provided: {KEY} (sk-loopb*****cdef)."}}
    with caplog.at_level(logging.DEBUG), serving(lambda number, body: Reply(401, refusal)) as seen:
        completer = EndpointCompleter(seen.url, "m", "LOOPBACK_KEY", backoff=QUICK)
        (answer,) = completer.complete(["Q"], SETTINGS)
    assert seen.keys == [f"Bearer {KEY}"]
    shown = f"{answer} {completer.name} {completer!r} {caplog.text}"
    assert KEY not in shown and "sk-loopb" not in shown and "cdef" not in shown
    assert "LOOPBACK_KEY was refused" in str(answer.error)


def test_without_a_key_none_is_sent_and_a_refusal_names_the_variable(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with serving(lambda number, body: Reply(401, "who are you")) as seen:
        (answer,) = ask(seen.url, ["Q"])
    assert seen.keys == [None]
    assert "OPENAI_API_KEY is not set" in str(answer.error)


def test_a_redirect_is_not_followed_with_the_key():
    with serving(lambda number, body: Reply(307, "", {"Location": "http://127.0.0.1:9/"})) as seen:
        (answer,) = ask(seen.url, ["Q"])
    assert answer.finish_reason == "failed" and len(seen.bodies) == 1


def test_lone_surrogates_and_nul_can_be_sent():
    with serving(lambda number, body: Reply(body=chat_answer(body["messages"][0]["content"]))) as seen:
        assert ask(seen.url, ["a\ud800\x00b"])[0].text == "a?\x00b"


@pytest.mark.parametrize(
    ("url", "options", "says"),
    [
        ("http://user:secret@host/v1", {}, "credentials"),
        ("http://host/v1?key=secret", {}, "credentials"),
        ("ftp://host", {}, "no address"),
        ("host:80", {}, "no address"),
        ("http://host/v1", {"model": ""}, "name of a model"),
        ("http://host/v1", {"parallel": 0}, "parallel=0"),
        ("http://host/v1", {"timeout_s": 0}, "timeout_s=0"),
        ("http://host/v1", {"timeout_s": "long"}, "timeout_s=long must both be above 0"),
        ("http://host/v1", {"parallel": 1.5}, "parallel=1.5 and .* whole number"),
    ],
)
def test_what_cannot_work_is_refused_and_secrets_are_not_repeated(url, options, says):
    with pytest.raises(ConfigError, match=says) as error:
        EndpointCompleter(url, **{"model": "m", **options})
    assert "secret" not in str(error.value)


def test_a_chat_for_a_completer_of_bare_text_is_refused():
    with pytest.raises(ConfigError, match="chat=true"):
        ask("http://127.0.0.1:9/v1", [[Message("user", "Q")]], chat=False)


@pytest.mark.parametrize(
    ("usage", "counted"),
    [({"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}, (12, 3)), ({"prompt_tokens": "many"}, (None, None)),
     (None, (None, None)),
     ("none", (None, None)), ({"prompt_tokens": 12}, (12, None))],
)  # fmt: skip
def test_tokens_are_what_the_server_counted(usage, counted):
    with serving(lambda number, body: Reply(body=chat_answer("x") | {"usage": usage})) as seen:
        (found,) = EndpointCompleter(seen.url, "m").complete(["p"], CompletionSettings())
    assert (found.text, found.input_tokens, found.output_tokens) == ("x", *counted)
