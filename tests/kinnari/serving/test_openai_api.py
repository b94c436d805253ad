"""The service as its clients see it: the `openai` package, our own endpoint client, and bodies that no client sends."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import hypothesis
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinnari.completion.completer import CompletionSettings
from kinnari.completion.endpoint import EndpointCompleter
from kinnari.generation.settings import GenerationSettings
from kinnari.serving.app import build_app
from kinnari.serving.chat_model import (
    AnswerTimeoutError,
    ChatRequest,
    ModelFailedError,
    PromptTooLongError,
    QueueFullError,
)
from kinnari.serving.openai_api import ApiSettings
from kinnari.text.conversation import Message
from tests.kinnari.serving.recorded import Recorded, RecordedReply, error_of
from tests.kinnari.serving.toys import running, toy_engine, toy_model

SETTINGS = GenerationSettings(max_new_tokens=12)


@pytest.fixture(scope="module")
def engines() -> Iterator[list]:
    made = [toy_engine(max_running=4), toy_engine(toy_model("gpt2", n_positions=120), name="small", max_running=4)]
    yield made
    for engine in made:
        engine.close()


@pytest.fixture(scope="module")
def models(engines) -> list:
    slow = Recorded("slow", ["a"] * 1000, wait_s=0.05)
    return [*engines, Recorded("told"), Recorded("cut"), slow, Recorded("breaks", ["half", AnswerTimeoutError("too late")])]


@pytest.fixture(scope="module")
def address(models) -> Iterator[str]:
    with running(build_app(models, ApiSettings(settings=SETTINGS, most_new_tokens=60, max_body_bytes=20_000))) as base:
        yield base


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=60) as made:
        yield made


@pytest.fixture
def told(models) -> Recorded:
    model = models[2]
    model.asked.clear()
    model.replies.clear()
    return model


def user(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


def post(address: str, path: str, **options) -> httpx2.Response:
    return httpx2.post(f"{address}/v1/{path}", timeout=30, **options)


def chat(address: str, **body) -> httpx2.Response:
    return post(address, "chat/completions", json={"model": "told", "messages": user("Hi")} | body)


def direct(engine, **options) -> str:
    return "".join(engine.answer(ChatRequest(**options)))


# --- what is served ----------------------------------------------------------------------------------------------------------


def test_models_are_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["toy", "small", "told", "cut", "slow", "breaks"]
    assert client.models.retrieve("small").owned_by == "kinnari"


def test_health_names_the_models(address: str) -> None:
    assert httpx2.get(f"{address}/health").json() == {"status": "ok", "models": ["toy", "small", "told", "cut", "slow", "breaks"]}


@pytest.mark.parametrize("number", [0, 1])
def test_a_chat_gets_the_models_own_answer(client: openai.OpenAI, engines, number: int) -> None:
    expected = direct(engines[number], messages=(Message("user", "ราคา"),), settings=GenerationSettings(max_new_tokens=20))
    got = client.chat.completions.create(model=engines[number].name, messages=user("ราคา"), temperature=0, max_tokens=20)
    assert got.choices[0].message.content == expected
    assert got.object == "chat.completion" and got.model == engines[number].name
    assert got.usage.prompt_tokens > 3 and got.usage.completion_tokens <= 20
    assert got.usage.total_tokens == got.usage.prompt_tokens + got.usage.completion_tokens


def test_a_streamed_chat_is_the_same_text(client: openai.OpenAI) -> None:
    asked = {"model": "toy", "messages": user("가격?"), "temperature": 0, "max_completion_tokens": 25}
    whole = client.chat.completions.create(**asked)
    events = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert "".join(event.choices[0].delta.content or "" for event in events[:-1]) == whole.choices[0].message.content
    assert events[0].choices[0].delta.role == "assistant"
    assert [event.choices[0].finish_reason for event in events[:-1]][-1] == whole.choices[0].finish_reason
    assert events[-1].choices == [] and events[-1].usage == whole.usage


def test_bare_text_is_continued_streamed_and_whole(client: openai.OpenAI, engines) -> None:
    expected = direct(engines[0], prompt="one two", settings=GenerationSettings(max_new_tokens=15))
    assert client.completions.create(model="toy", prompt="one two", temperature=0, max_tokens=15).choices[0].text == expected
    events = list(client.completions.create(model="toy", prompt="one two", temperature=0, max_tokens=15, stream=True))
    assert "".join(event.choices[0].text for event in events) == expected


def test_samples_follow_the_seed(client: openai.OpenAI) -> None:
    def sample(**seed) -> str:
        got = client.chat.completions.create(model="toy", messages=user("Hi"), temperature=1.5, max_tokens=20, **seed)
        return got.choices[0].message.content

    assert sample(seed=4) == sample(seed=4)
    assert len({sample(seed=4), sample(seed=5), sample(), sample()}) > 2


def test_n_answers_are_those_of_seeds_in_a_row(client: openai.OpenAI) -> None:
    asked = {"model": "toy", "messages": user("Hi"), "temperature": 1.5, "max_tokens": 10}
    one_by_one = [client.chat.completions.create(**asked, seed=seed).choices[0].message.content for seed in (8, 9, 10)]
    together = client.chat.completions.create(**asked, seed=8, n=3)
    assert [choice.message.content for choice in together.choices] == one_by_one
    streamed = ["", "", ""]
    for event in client.chat.completions.create(**asked, seed=8, n=3, stream=True):
        streamed[event.choices[0].index] += event.choices[0].delta.content or ""
    assert streamed == one_by_one


def test_prompts_of_one_request_are_answered_in_order_and_counted_once(client: openai.OpenAI) -> None:
    got = client.completions.create(model="toy", prompt=["ab", "cdef"], temperature=0, max_tokens=5, n=2)
    alone = [client.completions.create(model="toy", prompt=p, temperature=0, max_tokens=5) for p in ("ab", "cdef")]
    assert [choice.text for choice in got.choices] == [a.choices[0].text for a in alone for _ in range(2)]
    assert got.usage.prompt_tokens == sum(a.usage.prompt_tokens for a in alone)


def test_many_clients_get_their_own_answers(client: openai.OpenAI, engines) -> None:
    texts = [f"{i} question {'x' * i}" for i in range(24)]
    expected = [direct(engines[0], prompt=text, settings=GenerationSettings(max_new_tokens=20)) for text in texts]

    def ask(text: str) -> str:
        events = client.completions.create(model="toy", prompt=text, temperature=0, max_tokens=20, stream=True)
        return "".join(event.choices[0].text for event in events)

    with ThreadPoolExecutor(24) as pool:
        assert list(pool.map(ask, texts)) == expected


def test_our_own_endpoint_client_is_served(address: str, engines) -> None:
    prompts = ["Hi", [Message("system", "Be brief."), Message("user", "ราคา?")]]
    completer = EndpointCompleter(f"{address}/v1", "toy", parallel=2)
    settings = CompletionSettings(max_tokens=14, temperature=0.0, stop=("\n",), presence_penalty=1.5, seed=3)
    got = completer.complete(prompts, settings)
    asked = [(Message("user", "Hi"),), tuple(prompts[1])]
    decoding = GenerationSettings(max_new_tokens=14)
    assert [c.text for c in got] == [direct(engines[0], messages=m, settings=decoding, stop=("\n",), presence_penalty=1.5) for m in asked]
    assert all(c.finish_reason in ("stop", "length") and c.input_tokens > 0 for c in got)
    bare = EndpointCompleter(f"{address}/v1", "toy", chat=False).complete(["abc"], CompletionSettings(max_tokens=5, temperature=0.0))
    assert bare[0].text == direct(engines[0], prompt="abc", settings=GenerationSettings(max_new_tokens=5))


# --- what a request says -----------------------------------------------------------------------------------------------------


def test_what_a_body_leaves_unsaid_is_the_servers(address: str, told: Recorded) -> None:
    chat(address)
    assert told.asked[0].settings == SETTINGS
    assert (told.asked[0].stop, told.asked[0].presence_penalty) == ((), 0.0)


def test_every_setting_reaches_the_model(address: str, told: Recorded) -> None:
    chat(
        address, temperature=0.5, top_p=0.9, top_k=7, max_tokens=33, min_tokens=2, repetition_penalty=1.2, no_repeat_ngram_size=3,
        start_script="th", stop=["a", "b"], seed=-1, presence_penalty=1, frequency_penalty=-1, logit_bias={"5": 3},
    )  # fmt: skip
    asked = told.asked[0]
    assert asked.settings == GenerationSettings(
        do_sample=True, temperature=0.5, top_p=0.9, top_k=7, max_new_tokens=33, min_new_tokens=2, repetition_penalty=1.2,
        no_repeat_ngram_size=3, start_script="th",
    )  # fmt: skip
    assert (asked.stop, asked.presence_penalty, asked.frequency_penalty, asked.logit_bias) == (("a", "b"), 1, -1, {5: 3})
    assert asked.seed == 2**63 - 1


def test_messages_keep_their_roles_and_parts_their_text(address: str, told: Recorded) -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    said = [
        {"role": "developer", "content": "Be kind."},
        *user("a"),
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": parts},
    ]
    chat(address, messages=said)
    expected = (Message("system", "Be kind."), Message("user", "a"), Message("assistant", "b"), Message("user", "one\ntwo"))
    assert told.asked[0].messages == expected


def test_of_several_models_one_must_be_named(address: str) -> None:
    error = error_of(post(address, "completions", json={"prompt": "a", "max_tokens": 1}), 400)
    assert error["param"] == "model" and "`toy`, `small`" in error["message"]
    error = error_of(chat(address, model="smal"), 404)
    assert error["code"] == "model_not_found" and "`toy`, `small`" in error["message"]


def test_the_only_model_answers_to_any_name_that_is_like_its_own() -> None:
    only = Recorded("tiny_causal+2026-01-01")
    with running(build_app([only], ApiSettings(settings=SETTINGS), listed=["tiny_causal"])) as base:
        assert [model["id"] for model in httpx2.get(f"{base}/v1/models").json()["data"]] == ["tiny_causal"]
        for name in ("tiny_causal", "tiny", "tiny_causal+2026-01-01", None):
            assert chat(base, model=name).json()["model"] == "tiny_causal"
        assert httpx2.get(f"{base}/v1/models/tiny").json()["id"] == "tiny_causal"
        assert "there is `tiny_causal`" in error_of(chat(base, model="gpt-9"), 404)["message"]
    assert len(only.asked) == 4


def test_an_answer_cut_by_its_length_says_so(client: openai.OpenAI) -> None:
    assert client.chat.completions.create(model="cut", messages=user("a")).choices[0].finish_reason == "length"
    assert client.chat.completions.create(model="told", messages=user("a")).choices[0].finish_reason == "stop"


# --- what is refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff\xfe", b"[1]", b"null", b'"a"', b"[" * 9000, b'{"messages": NaN}'])
def test_what_is_no_body_is_a_400(address: str, raw: bytes) -> None:
    error_of(post(address, "chat/completions", content=raw, headers={"Content-Type": "application/json"}), 400)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_body_that_a_foreign_page_may_send_is_refused(address: str, kind: str) -> None:
    body = json.dumps({"messages": user("a")}).encode()
    assert "application/json" in error_of(post(address, "chat/completions", content=body, headers={"Content-Type": kind}), 400)["message"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("messages", []), ("messages", "Hi"), ("messages", [{"role": "tool", "content": "a"}]), ("messages", [{"role": "user"}]),
        ("messages", [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "a"}}]}]),
        ("messages", [{"role": "user", "content": None}]), ("messages", user("a") + [{"role": "assistant", "content": "b"}]),
        ("temperature", -1), ("temperature", "warm"), ("top_p", 0), ("top_p", 2), ("max_tokens", 0), ("max_tokens", 1.5),
        ("max_tokens", 61), ("n", 0), ("n", 100), ("stop", [""]), ("stop", 3), ("seed", "a"), ("tools", [{"type": "function"}]),
        ("logprobs", True), ("response_format", {"type": "json_object"}), ("logit_bias", {"a": 1}), ("start_script", "xx"),
        ("min_tokens", 50), ("model", 3), ("presence_penalty", 9), ("stream", "maybe"),
        ("repetition_penalty", 1e-300), ("logit_bias", {str(i): 1 for i in range(1001)}),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named(address: str, field: str, value: object) -> None:
    problem = error_of(chat(address, **{field: value}), 400)
    named = {"min_tokens": "min_new_tokens"}.get(field, field)
    assert named in f"{problem['message']} {problem['param']}"


@pytest.mark.parametrize(("field", "value"), [("prompt", [1, 2]), ("prompt", []), ("prompt", None), ("echo", True), ("best_of", 3)])
def test_a_wrong_field_of_a_completion_is_named(address: str, field: str, value: object) -> None:
    assert field in error_of(post(address, "completions", json={"model": "told", "prompt": "a", field: value}), 400)["message"]


_NAMES = st.sampled_from(["role", "content", "messages", "model", "stream", "n", "stop", "type", "text"])
_LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=5)


@hypothesis.settings(max_examples=40)
@given(st.recursive(_LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=4), max_leaves=12))
def test_no_json_makes_the_server_fail(address: str, body: object) -> None:
    assert post(address, "chat/completions", json=body).status_code in (200, 400, 404)


@pytest.mark.parametrize("field", ["model", "\ud800"])
def test_half_a_character_is_refused_as_anything_else_is(address: str, field: str) -> None:
    body = json.dumps(
        {"messages": user("a"), "logit_bias": {"\ud800": 1}} if field != "model" else {"messages": user("a"), field: "\ud800"}
    )
    headers = {"Content-Type": "application/json"}
    error_of(post(address, "chat/completions", content=body.encode(), headers=headers), 404 if field == "model" else 400)


@pytest.mark.parametrize("temperature", [1e-40, 1e-310])
def test_a_temperature_that_no_float_can_divide_by_is_greedy(address: str, told: Recorded, temperature: float) -> None:
    chat(address, temperature=temperature, top_p=0.5)
    assert told.asked[0].settings == SETTINGS


def test_null_is_as_good_as_nothing(address: str, told: Recorded) -> None:
    names = ("n", "max_tokens", "temperature", "top_p", "seed", "stop", "stream", "stream_options", "logit_bias", "tools", "user")
    assert chat(address, **dict.fromkeys(names)).status_code == 200
    assert told.asked[0].settings == SETTINGS


def test_an_unknown_model_is_a_404(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="does not exist") as caught:
        client.chat.completions.create(model="gpt-9", messages=user("a"))
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-9")


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/", "/nothing", "/v1/chat/completions"])
def test_what_is_not_served_is_a_404_of_the_same_shape(address: str, path: str) -> None:
    error_of(httpx2.get(address + path), 404)


def test_a_prompt_that_does_not_fit_is_a_400_that_our_client_understands(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="context length is 120") as caught:
        client.chat.completions.create(model="small", messages=user("x" * 300))
    assert caught.value.code == "context_length_exceeded"


def test_a_body_over_the_limit_is_a_413(address: str) -> None:
    error_of(chat(address, messages=user("x" * 30_000)), 413)

    def in_parts() -> Iterator[bytes]:
        for _ in range(30):
            yield b" " * 1000

    error_of(post(address, "chat/completions", content=in_parts(), headers={"Content-Type": "application/json"}), 413)


@pytest.mark.parametrize(
    ("refusal", "status", "code"),
    [
        (QueueFullError("full"), 429, "queue_full"), (AnswerTimeoutError("late"), 503, "timeout"),
        (ModelFailedError("broken"), 503, "model_failed"), (PromptTooLongError("long"), 400, "context_length_exceeded"),
        (RuntimeError("a secret of the server"), 500, "internal_error"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
def test_refusals_have_their_status(address: str, told: Recorded, refusal: Exception, status: int, code: str, stream: bool) -> None:
    told.refusal = refusal
    try:
        response = chat(address, stream=stream)
    finally:
        told.refusal = None
    assert error_of(response, status)["code"] == code
    assert "secret" not in response.text
    assert ("retry-after" in response.headers) == (status in (429, 503))


def test_a_timeout_before_the_first_piece_of_a_stream_is_a_503(address: str, told: Recorded) -> None:
    told.pieces = [AnswerTimeoutError("late")]
    try:
        error_of(chat(address, stream=True), 503)
        error_of(chat(address), 503)
    finally:
        told.pieces = ("สวัส", "ดี")


def test_a_stream_that_breaks_off_says_why(client: openai.OpenAI) -> None:
    events = iter(client.chat.completions.create(model="breaks", messages=user("a"), stream=True))
    assert [next(events).choices[0].delta.content for _ in range(2)] == ["", "half"]
    with pytest.raises(openai.APIError, match="too late"):
        next(events)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_frees_its_row(address: str, models, stream: bool) -> None:
    slow, before = models[4], len(models[4].replies)
    body = json.dumps({"model": "slow", "messages": user("a"), "stream": stream}).encode()
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        end = time.monotonic() + 10
        while len(slow.replies) == before and time.monotonic() < end:
            time.sleep(0.01)
        if stream:
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
    end = time.monotonic() + 10
    while not slow.replies[-1].cancelled and time.monotonic() < end:
        time.sleep(0.01)
    assert slow.replies[-1].cancelled
    assert slow.replies[-1].completion_tokens < 500


def test_if_one_of_several_answers_is_refused_none_runs(address: str, told: Recorded) -> None:
    answer, asked = told.answer, []

    def two_only(request: ChatRequest) -> RecordedReply:
        if len(asked) == 2:
            raise QueueFullError("full")
        asked.append(answer(request))
        return asked[-1]

    told.answer = two_only  # type: ignore[method-assign]
    try:
        error_of(chat(address, n=3, temperature=1), 429)
    finally:
        del told.answer
    assert [reply.cancelled for reply in asked] == [True, True]
