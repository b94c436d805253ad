"""The local completer with a toy model: stop strings, penalties, room, order."""

from __future__ import annotations

import pytest
import torch

from kinnari.completion.completer import CompletionSettings
from kinnari.completion.local import LocalCompleter
from kinnari.errors import ConfigError
from kinnari.generation import sampler
from kinnari.generation.settings import GenerationSettings
from kinnari.models.spec import ModelSpec
from kinnari.models.toy import build_toy
from kinnari.text.conversation import Message
from kinnari.text.template import Template

TEMPLATE = Template(name="t", system="{content}\n", user="Q: {content}\n", user_with_context=None, assistant_start="A:", after_eos="\n",
                    default_system=None, bos=False)  # fmt: skip
SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
GREEDY = CompletionSettings(max_tokens=24, temperature=0.0)


def toy(architecture="causal", **more):
    config = {"model_type": "llama", **SIZES, "max_position_embeddings": 64}
    if architecture == "seq2seq":
        config = {"model_type": "t5", "d_model": 32, "d_ff": 64, "d_kv": 16, "num_layers": 1, "num_heads": 2, "decoder_start_token_id": 0}
    spec = ModelSpec(name="toy", architecture=architecture, path=None, package=None, toy=config | more, lora_targets=[], block_classes=[],
                     max_length=64, dtype="auto", attention="auto", packing="none", pad_token=None, licence="MIT", notice=None)  # fmt: skip
    return build_toy(spec, seed=0)


@pytest.fixture(scope="module")
def model_and_tokenizer():
    return toy()


@pytest.fixture(scope="module")
def completer(model_and_tokenizer):
    return LocalCompleter(*model_and_tokenizer, TEMPLATE, name="toy", batch_size=2)


def test_bare_text_is_continued_as_the_sampler_continues_it(completer, model_and_tokenizer):
    model, tokenizer = model_and_tokenizer
    prompts = ["Hello", "สวัสดี", "안녕", "你"]
    ids = [tokenizer(p)["input_ids"] for p in prompts]
    expected = sampler.generate(model, tokenizer, ids, GenerationSettings(max_new_tokens=24))
    done: list[int] = []
    assert [c.text for c in completer.complete(prompts, GREEDY, done.append)] == [a.text for a in expected]
    assert sorted(set(done)) == [0, 2, 4] and done == sorted(done)  # while it generates, too


def test_a_chat_is_answered_through_the_template(completer):
    (chat,) = completer.complete([[Message("user", "Hi")]], GREEDY)
    (bare,) = completer.complete(["Q: Hi\nA:"], GREEDY)
    assert chat == bare


def test_text_ends_before_the_first_stop_string_and_generation_ends_there_too(completer):
    (whole,) = completer.complete(["Tell me"], GREEDY)
    stop = next(whole.text[i : i + 2] for i in range(3, 10))
    (cut,) = completer.complete(["Tell me"], CompletionSettings(max_tokens=24, temperature=0.0, stop=("never there", stop)))
    assert cut.text == whole.text[: whole.text.index(stop)] and cut.finish_reason == "stop"
    assert whole.finish_reason == "length"


@pytest.mark.parametrize("length", range(1, 18))
def test_a_stop_string_in_the_prompt_stops_nothing(completer, length):
    prompt = "\u00df" * length  # two tokens each, whatever the width that prompts are padded to
    (plain,) = completer.complete([prompt], CompletionSettings(max_tokens=8, temperature=0.0))
    assert "\u00df" not in plain.text
    (answer,) = completer.complete([prompt], CompletionSettings(max_tokens=8, temperature=0.0, stop=("\u00df",)))
    assert answer == plain


def test_penalties_count_generated_tokens_alone(completer):
    for prompt in ("a", "abcdefg", "abcdefgh", "abcdefghi"):
        (plain,) = completer.complete([prompt], CompletionSettings(max_tokens=1, temperature=0.0))
        (penalised,) = completer.complete([prompt], CompletionSettings(max_tokens=1, temperature=0.0, presence_penalty=1e6))
        assert penalised == plain


def test_the_answer_is_shortened_to_the_models_positions_and_a_full_prompt_fails(completer):
    whole, full, empty = completer.complete(["x" * 60, "x" * 64, ""], GREEDY)
    assert whole.finish_reason == "length"
    assert full.finish_reason == "failed" and "64 tokens" in str(full.error)
    assert empty.finish_reason == "failed"


def test_a_presence_penalty_forbids_a_second_time_in_the_end(completer):
    settings = CompletionSettings(max_tokens=24, temperature=0.0, presence_penalty=1000.0)
    (answer,) = completer.complete(["Hello"], settings)
    (free,) = completer.complete(["Hello"], GREEDY)
    assert answer != free


def test_a_bias_chooses_the_token(completer, model_and_tokenizer):
    _, tokenizer = model_and_tokenizer
    (token,) = tokenizer("k")["input_ids"]
    settings = CompletionSettings(max_tokens=5, temperature=0.0, logit_bias={token: 1000.0, 10**9: 1.0})
    assert completer.complete(["a"], settings)[0].text == "kkkkk"


def test_samples_follow_the_seed(completer):
    ask = lambda seed: completer.complete(["Hello"] * 3, CompletionSettings(max_tokens=16, temperature=1.0, seed=seed))  # noqa: E731
    assert ask(1) == ask(1) != ask(2)
    first, second, third = ask(1)
    assert len({first.text, second.text, third.text}) == 3


def test_special_tokens_written_in_a_prompt_are_text(completer):
    assert len(completer._prompt_ids(["</s>"])[0]) == 4


def test_an_encoder_decoder_answers_too():
    model, tokenizer = toy("seq2seq")
    completer = LocalCompleter(model, tokenizer, TEMPLATE, name="t5")
    settings = CompletionSettings(max_tokens=6, temperature=0.0, presence_penalty=0.5, stop=("zzz",))
    answers = completer.complete(["Hello", [Message("user", "Hi")]], settings)
    assert [a.finish_reason in ("stop", "length") for a in answers] == [True, True]


def test_a_chat_without_a_template_is_refused(model_and_tokenizer):
    with pytest.raises(ConfigError, match="model/template"):
        LocalCompleter(*model_and_tokenizer, name="toy").complete([[Message("user", "Q")]], GREEDY)


def test_the_callers_random_state_is_left_alone(completer):
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    completer.complete(["Hello"], CompletionSettings(max_tokens=4, temperature=1.0, seed=9))
    assert torch.equal(torch.rand(1), expected)
