"""Toys: real architectures, random numbers that a seed fixes, and a tokenizer that reads every script."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kinnari.errors import ConfigError
from kinnari.models.toy import SPECIAL_TOKENS, build_toy, byte_tokenizer
from tests.kinnari.models.specs import LLAMA_TOY, T5_TOY, toy_spec

TOKENIZER = byte_tokenizer()


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_round_trips_exactly(text):
    ids = TOKENIZER(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert len(ids) == len(text.encode())
    assert TOKENIZER.decode(ids) == text


@pytest.mark.parametrize("text", ["สวัสดีชาวโลก ๑๒๓", "안녕하세요, 세계!", "你好，世界。", "こんにちは　世界", "👩‍👩‍👧 🇹🇭 ok ."])
def test_asian_scripts_and_emoji_round_trip_exactly(text):
    assert TOKENIZER.decode(TOKENIZER(text)["input_ids"]) == text


def test_special_tokens_are_the_first_six_ids_and_bytes_follow():
    assert TOKENIZER.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == [0, 1, 2, 3, 4, 5]
    assert len(TOKENIZER) == 262
    assert (TOKENIZER.pad_token_id, TOKENIZER.bos_token_id, TOKENIZER.eos_token_id) == (0, 1, 2)
    assert TOKENIZER("<|im_start|>a<|im_end|>")["input_ids"][::2] == [4, 5]


@pytest.mark.parametrize(("toy", "architecture"), [(LLAMA_TOY, "causal"), (T5_TOY, "seq2seq")])
def test_one_seed_gives_one_model_and_leaves_the_random_state(toy, architecture):
    spec = toy_spec(toy=toy, architecture=architecture)
    state = torch.get_rng_state()
    first, second, other = build_toy(spec, 1)[0], build_toy(spec, 1)[0], build_toy(spec, 2)[0]
    assert torch.equal(torch.get_rng_state(), state)
    assert not first.training and first.dtype == torch.float32
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_unknown_model_type_and_small_vocabulary_are_refused():
    with pytest.raises(ConfigError, match="model_type"):
        build_toy(toy_spec(toy={"model_type": "nonesuch"}), 0)
    with pytest.raises(ConfigError, match="262"):
        build_toy(toy_spec(toy={**LLAMA_TOY, "vocab_size": 100}), 0)
    with pytest.raises(ConfigError, match="no toy"):
        build_toy(toy_spec(toy=None, path="hub/x"), 0)
