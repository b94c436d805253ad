"""Many at once, each as if alone."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from kinnari.errors import ConfigError
from kinnari.generation import sampler
from kinnari.generation.settings import GenerationSettings
from kinnari.serving.chat_model import (
    AnswerTimeoutError,
    ChatRequest,
    ModelFailedError,
    PromptTooLongError,
    QueueFullError,
    RequestRefusedError,
)
from kinnari.serving.engine import Engine
from kinnari.serving.served_row import ServedRow
from kinnari.text.conversation import Message
from tests.kinnari.generation.test_sampler import CAUSAL
from tests.kinnari.serving.toys import TEMPLATE, TOKENIZER, toy_engine, toy_model

QUESTIONS = ("สวัสดี", "Hi", "가격이 얼마예요? " * 3, "x" * 75, "日本", "What is AI?", "one two three")
SAMPLED = GenerationSettings(do_sample=True, temperature=1.3, top_k=60, top_p=0.95, max_new_tokens=16)


def alone(model, question: str, settings: GenerationSettings, seed: int = 0) -> str:
    """What the sampler answers; a broken last character is not told by an engine."""
    seq2seq = model.config.is_encoder_decoder
    prompt = sampler.chat_prompts(TOKENIZER, TEMPLATE, [[Message("user", question)]], seq2seq=seq2seq)
    stop = sampler.answer_end(TOKENIZER, TEMPLATE, seq2seq=seq2seq)
    return sampler.generate(model, TOKENIZER, prompt, settings, seed=seed, stop_id=stop)[0].text.rstrip("\ufffd")


def question(text: str, settings: GenerationSettings, seed: int = 0, **options) -> ChatRequest:
    return ChatRequest(messages=(Message("user", text),), settings=settings, seed=seed, **options)


def ask(engine: Engine, *asked, **options) -> str:
    return "".join(engine.answer(question(*asked, **options)))


def ask_all(engine: Engine, asked) -> list[str]:
    """The answers, asked by as many threads."""
    answers: dict[int, str] = {}

    def one(i: int) -> None:
        answers[i] = ask(engine, *asked[i])

    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(asked))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [answers[i] for i in range(len(asked))]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    made = toy_engine(max_running=4, max_waiting=40)
    yield made
    made.close()


class Slow(torch.nn.Module):
    """Wraps a toy's head so that each forward takes a while; the test lets it go on."""

    def __init__(self, head: torch.nn.Module, seconds: float) -> None:
        super().__init__()
        self.head, self.seconds = head, seconds

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        time.sleep(self.seconds)
        return self.head(hidden)


def slow_engine(seconds: float = 0.02, **options) -> Engine:
    model = toy_model(max_position_embeddings=100_000)
    made = toy_engine(model, **options)
    model.lm_head = Slow(model.lm_head, seconds)
    return made


def windowed_model():
    """A Mistral that sees eight tokens back, so that every question here is longer than its window."""
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    torch.manual_seed(3)
    config = AutoConfig.for_model("mistral", vocab_size=len(TOKENIZER), sliding_window=8, pad_token_id=0, eos_token_id=2, **sizes)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)
    return model.eval()


LONG = GenerationSettings(max_new_tokens=50_000)


@pytest.mark.parametrize("model_type", [*CAUSAL, "t5"])
def test_greedy_answers_among_others_are_those_of_the_sampler_alone(model_type: str) -> None:
    model = toy_model(model_type)
    asked = [(q, GenerationSettings(max_new_tokens=5 + 7 * i)) for i, q in enumerate(QUESTIONS)]
    expected = [alone(model, *a) for a in asked]
    engine = toy_engine(model, max_running=3, read_tokens=32)
    assert engine.batched == (model_type != "t5")
    try:
        assert ask_all(engine, asked) == expected
    finally:
        engine.close()
    assert len(set(expected)) > 3


@pytest.mark.parametrize("model_type", ["llama", "t5"])
def test_samples_among_others_are_those_of_the_sampler_alone(model_type: str) -> None:
    model = toy_model(model_type)
    asked = [(q, SAMPLED, 7 + i) for i, q in enumerate(QUESTIONS)]
    expected = [alone(model, *a) for a in asked]
    engine = toy_engine(model, max_running=5)
    try:
        assert ask_all(engine, asked) == expected
        assert ask(engine, QUESTIONS[0], SAMPLED, 99) != expected[0]
    finally:
        engine.close()


def test_sliding_windows_are_kept_by_rows_that_join_and_leave() -> None:
    model = windowed_model()
    asked = [(q, GenerationSettings(max_new_tokens=6 + 5 * i)) for i, q in enumerate(QUESTIONS)]
    expected = [alone(model, *a) for a in asked]
    engine = toy_engine(model, max_running=3)
    try:
        assert engine.batched
        assert ask_all(engine, asked) == expected
    finally:
        engine.close()


def test_settings_of_each_request_are_its_own(engine: Engine) -> None:
    settings = [
        GenerationSettings(max_new_tokens=20, no_repeat_ngram_size=2),
        GenerationSettings(max_new_tokens=20),
        GenerationSettings(max_new_tokens=20, start_script="th"),
        GenerationSettings(max_new_tokens=20, min_new_tokens=20),
        GenerationSettings(max_new_tokens=20, num_beams=3),
        SAMPLED,
    ]
    expected = [alone(engine.model, "สวัสดี", each) for each in settings]
    assert ask_all(engine, [("สวัสดี", each) for each in settings]) == expected
    assert len(set(expected)) > 3
    assert "\u0e01" <= expected[2][0] <= "\u0e59"


def test_what_was_said_is_penalised(engine: Engine) -> None:
    settings = GenerationSettings(max_new_tokens=40)
    plain = ask(engine, "Hi", settings)
    apart = ask(engine, "Hi", settings, presence_penalty=2.0, frequency_penalty=2.0)
    assert plain != apart
    biased = ask(engine, "Hi", settings, logit_bias={TOKENIZER("z")["input_ids"][-1]: 100.0})
    assert biased == "z" * 40


def test_bare_text_is_continued(engine: Engine) -> None:
    ids = list(TOKENIZER("once upon")["input_ids"])
    expected = sampler.generate(engine.model, TOKENIZER, [ids], GenerationSettings(max_new_tokens=9))[0].text
    reply = engine.answer(ChatRequest(prompt="once upon", settings=GenerationSettings(max_new_tokens=9)))
    assert "".join(reply) == expected.rstrip("\ufffd")
    assert reply.prompt_tokens == len(ids)
    assert (reply.completion_tokens, reply.finish_reason) == (9, "length")


def test_a_stop_text_ends_the_answer_before_it(engine: Engine) -> None:
    letters = {TOKENIZER(letter, add_special_tokens=False)["input_ids"][0]: 90.0 for letter in "abcd"}
    settings = GenerationSettings(max_new_tokens=60, repetition_penalty=1.5)
    whole = ask(engine, "What is AI?", settings, logit_bias=letters)
    stop = whole[10:12]
    reply = engine.answer(question("What is AI?", settings, logit_bias=letters, stop=("never said", stop)))
    assert "".join(reply) == whole[: whole.index(stop)]
    assert (reply.finish_reason, reply.completion_tokens) == ("stop", whole.index(stop) + 2)


def test_an_answer_ends_at_the_end_token(engine: Engine) -> None:
    settings = GenerationSettings(max_new_tokens=40)
    bias = {TOKENIZER.eos_token_id: 100.0}
    reply = engine.answer(question("Hi", settings, logit_bias=bias))
    assert list(reply) == []
    assert (reply.finish_reason, reply.completion_tokens) == ("stop", 1)


@pytest.mark.parametrize("seed", range(3))
def test_random_joins_and_leaves_change_no_answer(engine: Engine, seed: int) -> None:
    draw = random.Random(seed)
    asked = [
        ("".join(draw.choice("abกขค日 ") for _ in range(draw.randint(1, 60))), GenerationSettings(max_new_tokens=draw.randint(1, 40)))
        for _ in range(24)
    ]
    expected = [alone(engine.model, *a) for a in asked]
    answers: dict[int, str] = {}

    def one(i: int) -> None:
        time.sleep(draw.random() / 5)
        reply = engine.answer(question(*asked[i]))
        if i % 5 == 4:  # somebody leaves in the midst
            next(iter(reply), "")
            reply.cancel()
        else:
            answers[i] = "".join(reply)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {i: expected[i] for i in range(24) if i % 5 != 4}


def test_rows_of_adapters_are_batched_too() -> None:
    torch.manual_seed(0)
    model = get_peft_model(toy_model(), LoraConfig(target_modules=["q_proj", "v_proj"], init_lora_weights=False)).eval()
    asked = [(q, GenerationSettings(max_new_tokens=9)) for q in QUESTIONS]
    expected = [alone(model, *a) for a in asked]
    engine = toy_engine(model)
    try:
        assert engine.batched
        assert ask_all(engine, asked) == expected
    finally:
        engine.close()
    assert expected != [alone(toy_model(), *a) for a in asked]


def test_a_full_queue_refuses_and_serves_again_later() -> None:
    engine = slow_engine(max_running=1, max_waiting=1)
    try:
        first, second = (engine.answer(question("a", LONG)) for _ in range(2))
        with pytest.raises(QueueFullError, match="Try again"):
            engine.answer(question("a", LONG))
        first.cancel()
        second.cancel()
        assert list(first)[-1:] is not None and first.finish_reason == "cancelled"
        assert len(ask(engine, "b", GenerationSettings(max_new_tokens=3, min_new_tokens=3))) > 0
    finally:
        engine.close()


def test_a_cancelled_answer_frees_its_place_for_the_next() -> None:
    engine = slow_engine(max_running=1, max_waiting=4)
    try:
        running, waiting = engine.answer(question("a", LONG)), engine.answer(question("b", GenerationSettings(max_new_tokens=2)))
        next(iter(running))
        running.cancel()
        assert isinstance("".join(waiting), str)
        assert waiting.finish_reason in ("length", "stop")
        rest = list(running)
        assert running.finish_reason == "cancelled"
        assert running.completion_tokens < 1000 and len(rest) < 1000
    finally:
        engine.close()


def test_an_answer_that_takes_too_long_says_so() -> None:
    engine = slow_engine(timeout_s=0.4)
    try:
        reply = engine.answer(question("a", LONG))
        with pytest.raises(AnswerTimeoutError, match=r"not finished within 0\.4 seconds"):
            list(reply)
        assert ask(engine, "b", GenerationSettings(max_new_tokens=2)) is not None  # its row is free
    finally:
        engine.close()


def test_a_reader_does_not_wait_for_a_model_that_is_stuck() -> None:
    engine = slow_engine(seconds=1.5, timeout_s=0.2)
    try:
        reply, began = engine.answer(question("a", LONG)), time.monotonic()
        with pytest.raises(AnswerTimeoutError, match="not begun"):
            list(reply)
        assert time.monotonic() - began < 1.2
    finally:
        engine.close()


def test_closing_ends_what_runs_and_waits_and_refuses_the_rest() -> None:
    engine = slow_engine(max_running=1)
    running, waiting = engine.answer(question("a", LONG)), engine.answer(question("b", LONG))
    next(iter(running))
    engine.close()
    for reply in (running, waiting):
        with pytest.raises(ModelFailedError, match="shut down"):
            list(reply)
    with pytest.raises(ModelFailedError, match="shut down"):
        engine.answer(question("c", LONG))


def test_a_model_that_breaks_down_loses_its_rows_and_serves_on(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = toy_engine(max_running=2)
    try:
        expected = ask(engine, "Hi", GenerationSettings(max_new_tokens=12))
        step, calls = engine._rows.step, []

        def breaks_once(tokens):
            calls.append(tokens)
            if len(calls) == 3:
                raise RuntimeError("a defect")
            return step(tokens)

        monkeypatch.setattr(engine._rows, "step", breaks_once)
        with pytest.raises(ModelFailedError, match="RuntimeError"):
            ask(engine, "Hi", GenerationSettings(max_new_tokens=12))
        assert ask(engine, "Hi", GenerationSettings(max_new_tokens=12)) == expected
    finally:
        engine.close()


@pytest.mark.parametrize("where", ["first token", "later token", "prompt"])
def test_an_answer_that_cannot_go_on_ends_alone(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = slow_engine(0.005, max_running=4)
    impossible = GenerationSettings(do_sample=True, temperature=1e-40, max_new_tokens=5)  # logits beyond what a float holds
    if where == "later token":
        impossible = replace(impossible, temperature=1.0)
        take = ServedRow.choose

        def breaks(row, logits):
            return take(row, logits * float("nan") if row.said and row.settings is not LONG else logits)

        monkeypatch.setattr(ServedRow, "choose", breaks)
    if where == "prompt":
        read = engine._rows.read
        monkeypatch.setattr(engine._rows, "read", lambda row, most: read(row, most if len(row.prompt) < 50 else "defect"))
    try:
        other = engine.answer(question("Hi", LONG))
        pieces = iter(other)
        told = [next(pieces)]
        with pytest.raises(ModelFailedError, match="broke down"):
            ask(engine, "x" * 60 if where == "prompt" else "x", GenerationSettings() if where == "prompt" else impossible)
        told += [next(pieces) for _ in range(3)]
        assert all(told)
        other.cancel()
    finally:
        engine.close()


def test_places_of_those_who_left_a_queue_are_free_during_a_long_answer() -> None:
    engine = slow_engine(0.02, max_running=1, max_waiting=1)
    try:
        running = engine.answer(question("a", replace(LONG, num_beams=2)))  # the engine's thread is in the sampler
        for _ in range(5):
            engine.answer(question("b", LONG)).cancel()
        running.cancel()
    finally:
        engine.close()


def test_a_prompt_without_memory_for_it_is_refused_and_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = toy_engine()
    read = engine._rows.read

    def read_short(row, most):
        if len(row.prompt) > 50:
            raise torch.OutOfMemoryError("no memory")
        return read(row, most)

    monkeypatch.setattr(engine._rows, "read", read_short)
    try:
        with pytest.raises(ModelFailedError, match="not enough memory"):
            ask(engine, "x" * 80, GenerationSettings(max_new_tokens=2))
        ask(engine, "x", GenerationSettings(max_new_tokens=2))
    finally:
        engine.close()


def test_a_prompt_that_leaves_no_room_is_refused_and_a_shorter_answer_is_cut_to_the_room() -> None:
    engine = toy_engine(toy_model("gpt2", n_positions=40))
    try:
        with pytest.raises(PromptTooLongError, match="context length is 40"):
            engine.answer(question("x" * 50, GenerationSettings()))
        reply = engine.answer(ChatRequest(prompt="x" * 35, settings=GenerationSettings(max_new_tokens=48, min_new_tokens=48)))
        list(reply)
        assert (reply.prompt_tokens, reply.completion_tokens, reply.finish_reason) == (35, 5, "length")
    finally:
        engine.close()


def test_rows_wait_while_the_cache_would_grow_over_its_limit() -> None:
    engine = slow_engine(seconds=0.005, cache_tokens=100, max_running=8)
    try:
        asked = [("a" * 20, GenerationSettings(max_new_tokens=20, min_new_tokens=20)) for _ in range(5)]
        most = 0
        replies = [engine.answer(question(*a)) for a in asked]
        for reply in replies:
            for _ in reply:
                most = max(most, len(engine._running))
        assert most == 2  # 2 rows of 44 tokens fit, 3 do not
        with pytest.raises(PromptTooLongError):
            engine.answer(question("a" * 120, GenerationSettings()))
    finally:
        engine.close()


@pytest.mark.parametrize("request_", [ChatRequest(), ChatRequest(messages=(Message("user", "\ud800"),)), ChatRequest(prompt="\ud800")])
def test_a_request_that_cannot_be_read_is_refused(engine: Engine, request_: ChatRequest) -> None:
    with pytest.raises(RequestRefusedError):
        engine.answer(request_)


def test_a_model_without_a_head_is_no_chat_model() -> None:
    with pytest.raises(ConfigError, match="writes no text"):
        toy_engine(AutoModel.from_config(toy_model().config))


@pytest.mark.parametrize("wrong", [{"max_running": 0}, {"max_waiting": -1}, {"timeout_s": 0}, {"cache_tokens": 0}])
def test_limits_that_serve_nobody_are_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError, match="must be at least"):
        toy_engine(**wrong)


def test_an_idle_engine_keeps_no_cache(engine: Engine) -> None:
    ask(engine, "Hi", GenerationSettings(max_new_tokens=4))
    end = time.monotonic() + 10
    while engine._rows.cache.layers and time.monotonic() < end:  # an answer is read a moment before its row leaves
        time.sleep(0.01)
    assert engine._rows.cache.layers == []
