"""What tokenizers do to a string on its own is undone for a piece in mid-text."""

import pytest

from kinnari.models.toy import byte_tokenizer
from kinnari.text.pieces import PieceTokenizer
from kinnari.text.template import Segment
from tests.kinnari.text.small_tokenizers import llama, xglm

SENTENCEPIECE = pytest.mark.parametrize("tokenizer", [xglm(), llama()], ids=["xglm", "llama"])


def words(tokenizer, ids):
    return tokenizer.convert_ids_to_tokens(ids)


def row(pieces, *segments):
    ids = []
    for kind, text, _ in pieces.with_moved_spaces([Segment(kind, text, False) for kind, text in segments]):
        ids += pieces.free_text([text])[0] if kind in ("text", "answer") else pieces.fixed(kind, text)
    return ids


@SENTENCEPIECE
def test_a_piece_in_mid_text_begins_without_a_space(tokenizer):
    pieces = PieceTokenizer(tokenizer)

    assert words(tokenizer, tokenizer("hello", add_special_tokens=False)["input_ids"])[0].startswith("▁")
    assert not words(tokenizer, pieces.free_text(["hello"])[0])[0].startswith("▁")


@SENTENCEPIECE
def test_the_space_of_a_cue_begins_the_answer_as_in_running_text(tokenizer):
    pieces = PieceTokenizer(tokenizer)
    running = tokenizer("Who <bot>: hello", add_special_tokens=False)["input_ids"]

    apart = row(pieces, ("text", "Who"), ("template", " <bot>: "), ("answer", "hello"))

    assert words(tokenizer, apart) == words(tokenizer, running)


@SENTENCEPIECE
def test_the_prompt_is_a_prefix_although_its_last_space_belongs_to_the_answer(tokenizer):
    pieces = PieceTokenizer(tokenizer)
    prompt = row(pieces, ("text", "Who"), ("template", " <bot>: "))

    for answer in ("hello", " hello", "สวัสดี", "", "\n"):
        assert row(pieces, ("text", "Who"), ("template", " <bot>: "), ("answer", answer), ("eos", ""))[: len(prompt)] == prompt


@SENTENCEPIECE
def test_a_row_begins_with_the_space_that_decoding_takes_away(tokenizer):
    pieces = PieceTokenizer(tokenizer)
    ids = row(pieces, ("bos", ""), ("template", "USER: "), ("text", "hello"))

    assert ids == [tokenizer.bos_token_id, *tokenizer("USER: hello", add_special_tokens=False)["input_ids"]]
    assert tokenizer.decode(ids[1:]) == "USER: hello"


def test_a_byte_level_tokenizer_gets_its_pieces_as_they_are():
    pieces = PieceTokenizer(byte_tokenizer())
    segments = [Segment("template", "<bot>: ", False), Segment("answer", "hello", True)]

    assert pieces.with_moved_spaces(segments) is segments and not pieces.prefixes_spaces


@pytest.mark.parametrize("tokenizer", [xglm(), llama(), byte_tokenizer()], ids=["xglm", "llama", "bytes"])
@pytest.mark.parametrize("text", ["</s>", "a</s>b", " </s>", "<s></s></s>", "</s></s", "<pad>", "\0\0</s>"])
def test_control_tokens_typed_by_people_are_characters(tokenizer, text):
    (ids,) = PieceTokenizer(tokenizer).free_text([text])

    known = {tokenizer.unk_token_id}
    assert not (set(tokenizer.all_special_ids) - known) & set(ids)
    if tokenizer.unk_token_id not in ids:
        assert tokenizer.decode(ids).strip() == text.strip()


def test_a_unigram_model_alone_would_read_a_typed_eos_as_eos():
    tokenizer = xglm()
    ids = tokenizer("a</s>", add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert tokenizer.eos_token_id in ids  # why pieces are looked through


def test_the_tokenizer_itself_is_left_as_it_was():
    tokenizer = xglm()
    before = tokenizer("hello </s>")["input_ids"]
    PieceTokenizer(tokenizer).free_text(["hello </s>"])
    assert tokenizer("hello </s>")["input_ids"] == before
