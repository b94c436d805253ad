"""Whole characters, nothing taken back, nothing of a stop text."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from kinnari.models.toy import byte_tokenizer
from kinnari.serving.incremental_text import BROKEN, IncrementalText

TOKENIZER = byte_tokenizer()


def pieces(text: str, tokenizer=TOKENIZER, stops=()) -> tuple[list[str], IncrementalText]:
    told = IncrementalText(tokenizer, stops)
    said = []
    for token in tokenizer(text, add_special_tokens=False)["input_ids"]:
        said.append(told.add(token))
        if told.stopped:
            break
    return [*said, told.finish()], told


def test_a_thai_character_is_told_with_its_last_byte() -> None:
    said, _ = pieces("กa")
    assert said == ["", "", "ก", "a", ""]


def test_what_may_become_a_stop_text_waits() -> None:
    said, told = pieces("ab\n\nUs", stops=["\n\nUser:"])
    assert said == ["a", "b", "", "", "", "", "\n\nUs"]
    assert not told.stopped


def test_the_stop_text_that_begins_first_ends_the_answer() -> None:
    said, told = pieces("one END two", stops=["two", " END"])
    assert "".join(said) == "one"
    assert told.stopped


def test_an_answer_that_is_cut_in_a_character_ends_before_it() -> None:
    told = IncrementalText(TOKENIZER)
    ids = TOKENIZER("aก", add_special_tokens=False)["input_ids"]
    assert "".join(told.add(token) for token in ids[:-1]) + told.finish() == "a"


def test_special_tokens_are_no_text() -> None:
    told = IncrementalText(TOKENIZER)
    assert told.add(TOKENIZER.convert_tokens_to_ids("<|im_end|>")) == ""
    assert told.finish() == ""


@given(st.lists(st.integers(0, len(TOKENIZER) - 1), max_size=60))
def test_pieces_of_any_tokens_are_whole_and_together_the_decoded_answer(tokens: list[int]) -> None:
    told = IncrementalText(TOKENIZER)
    said = [told.add(token) for token in tokens]
    said.append(told.finish())
    assert "".join(said) == TOKENIZER.decode(tokens, skip_special_tokens=True).rstrip(BROKEN)


@given(st.lists(st.integers(6, len(TOKENIZER) - 1), max_size=60), st.lists(st.text("aๆb\n", min_size=1, max_size=4), max_size=3))
def test_stops_in_any_tokens_cut_where_the_whole_text_is_cut(tokens: list[int], stops: list[str]) -> None:
    told = IncrementalText(TOKENIZER, stops)
    said, taken = [], []
    for token in tokens:
        said.append(told.add(token))
        taken.append(token)
        if told.stopped:
            break
    said.append(told.finish())
    whole = TOKENIZER.decode(taken, skip_special_tokens=True).rstrip(BROKEN)
    cut = min([whole.index(stop) for stop in stops if stop in whole], default=len(whole))
    assert "".join(said) == whole[:cut]
    assert told.stopped == (cut < len(whole) or any(stop in whole for stop in stops))


@given(st.text("ab\n\u0e01ๆ", max_size=30), st.lists(st.text("ab\n", min_size=1, max_size=4), min_size=1, max_size=3))
@example("\naa", ["a", "\naa"])
def test_no_piece_holds_or_outruns_a_stop_text(text: str, stops: list[str]) -> None:
    said, _ = pieces(text, stops=stops)
    # The stop text that is complete first ends the answer, although a longer one may have begun before it: "\naa" with a and \naa is "\n".
    first = next((text[:end] for end in range(len(text) + 1) if any(stop in text[:end] for stop in stops)), text)
    cut = min([first.index(stop) for stop in stops if stop in first], default=len(first))
    assert "".join(said) == text[:cut]


@pytest.fixture(scope="module")
def byte_fallback() -> PreTrainedTokenizerFast:
    """As Llama 2 has it: a byte token each, and one incomplete character makes its neighbours broken too while it is."""
    vocabulary = {"<unk>": 0, **{f"<0x{byte:02X}>": byte + 1 for byte in range(256)}, "▁a": 257}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>", byte_fallback=True))
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", eos_token="<unk>", clean_up_tokenization_spaces=False)


def test_characters_in_bytes_come_one_by_one_where_the_decoder_breaks_them_together(byte_fallback: PreTrainedTokenizerFast) -> None:
    told = IncrementalText(byte_fallback)
    said = [told.add(byte + 1) for byte in "กข".encode()]
    assert said == ["", "", "ก", "", "", "ข"]
    assert told.finish() == ""


def test_spaces_that_cleaning_takes_away_are_never_told() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.clean_up_tokenization_spaces = True
    whole = tokenizer.decode(tokenizer("I do n't know .", add_special_tokens=False)["input_ids"])
    said, _ = pieces("I do n't know .", tokenizer)
    assert "".join(said) == whole
