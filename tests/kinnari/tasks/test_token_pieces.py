"""Tokens as text, also where a character is spread over several of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from kinnari.models.toy import byte_tokenizer
from kinnari.tasks.token_pieces import Piece, TokenPieces

BYTES = byte_tokenizer()


def ids(text: str) -> list[int]:
    return BYTES(text, add_special_tokens=False)["input_ids"]


def sentencepiece_like() -> PreTrainedTokenizerFast:
    vocabulary = {"<unk>": 0, "</s>": 1, "▁Hi": 2, "▁": 3, "<0xE0>": 4, "<0xB8>": 5, "<0x81>": 6}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>", byte_fallback=True))
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", eos_token="</s>")


def test_three_tokens_of_one_thai_character_are_one_piece() -> None:
    assert TokenPieces(BYTES).pieces([1, *ids("aก"), 2]) == [
        Piece("<s>", 1, special=True),
        Piece("a", 1),
        Piece("ก", 3),
        Piece("</s>", 1, special=True),
    ]


def test_half_a_character_is_shown_as_bytes() -> None:
    cut = ids("ก")[:2]
    assert TokenPieces(BYTES).pieces([*cut, 2]) == [Piece("<E0>", 1), Piece("<B8>", 1), Piece("</s>", 1, special=True)]
    assert TokenPieces(BYTES).strings([*cut, *ids("é")]) == ["<E0>", "<B8>", "<C3>", "<A9>"]


def test_sentencepiece_tokens_and_their_bytes() -> None:
    found = TokenPieces(sentencepiece_like()).pieces([2, 3, 4, 5, 6, 1])
    assert found == [Piece(" Hi", 1), Piece(" ", 1), Piece("ก", 3), Piece("</s>", 1, special=True)]


def test_a_control_token_typed_by_a_user_is_plain_text() -> None:
    typed = BYTES("<s>", add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert [piece.special for piece in TokenPieces(BYTES).pieces(typed)] == [False, False, False]


@given(st.text(max_size=20))
def test_pieces_spell_the_text_and_count_the_tokens(text: str) -> None:
    text = text.encode("utf-8", "ignore").decode()
    tokens = BYTES(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    pieces = TokenPieces(BYTES).pieces(tokens)
    assert "".join(piece.text for piece in pieces) == text
    assert sum(piece.count for piece in pieces) == len(tokens) == len(TokenPieces(BYTES).strings(tokens))


@given(st.lists(st.integers(0, len(BYTES) - 1), max_size=20))
def test_any_ids_are_shown_and_counted(tokens: list[int]) -> None:
    assert sum(piece.count for piece in TokenPieces(BYTES).pieces(tokens)) == len(tokens)


@pytest.mark.parametrize("text", ["สวัสดี", "안녕", "你好", "👩‍🚀"])
def test_every_character_is_readable(text: str) -> None:
    assert [piece.text for piece in TokenPieces(BYTES).pieces(ids(text))] == list(text)
