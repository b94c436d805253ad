"""Sources and targets of encoder-decoders, with the tokenizers of T5 (mT5, Flan-T5, umT5 share its class) and ByT5."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from transformers import ByT5Tokenizer, PreTrainedTokenizerBase

from kinnari.text.batches import collate_seq2seq
from kinnari.text.conversation import Conversation, Message
from kinnari.text.records import Tokens, flatten
from kinnari.text.seq2seq_tokens import source_segments
from kinnari.text.template import Template
from kinnari.text.tokens import SegmentEncoder, encode_conversations
from kinnari.text.truncation import Limits
from tests.kinnari.text.small_tokenizers import t5

CONF = Path(__file__).parents[3] / "conf" / "model" / "template"
PLAIN = Template(**yaml.safe_load((CONF / "plain_seq2seq.yaml").read_text()))
TOKENIZERS = {"t5": t5, "byt5": ByT5Tokenizer}
PEOPLE_WRITE = st.text(alphabet="สวัสดีครับ안녕하세요你好こんにちは abcWx</s>\n?", min_size=1, max_size=30).filter(str.strip)


@pytest.fixture(scope="module", params=TOKENIZERS)
def encoder(request: pytest.FixtureRequest) -> SegmentEncoder:
    return SegmentEncoder(TOKENIZERS[request.param]())


def conversation(*turns: str) -> Conversation:
    messages = tuple(Message("assistant" if i % 2 else "user", turn) for i, turn in enumerate(turns))
    return Conversation(messages=messages, record_id="r", source="s", language="th", licence="MIT")


def sides(encoder: SegmentEncoder, *turns: str, **limits) -> tuple[list[int], list[int]]:
    (tokens,) = encode_conversations([conversation(*turns)], encoder, PLAIN, Limits(**{"max_length": 512} | limits), seq2seq=True)
    assert isinstance(tokens, Tokens)
    ids, trained = np.asarray(tokens.input_ids), np.asarray(tokens.trained)
    return ids[~trained].tolist(), ids[trained].tolist()


def in_pretraining(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """What the tokenizer's own call gives, which ends in one EOS."""
    return tokenizer(text)["input_ids"]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Who wrote it?", "Ada wrote it."),
        ("Translate to Thai:\nhello there", "สวัสดีครับ"),
        ("你好世界", "こんにちは世界 안녕하세요"),
        ("two  spaces and a tab\there", "  around  "),
    ],
)
def test_both_sides_are_the_tokens_of_pretraining(encoder: SegmentEncoder, question: str, answer: str) -> None:
    source, target = sides(encoder, question, answer)
    assert source == in_pretraining(encoder.tokenizer, question)
    assert target == in_pretraining(encoder.tokenizer, answer)


@given(question=PEOPLE_WRITE, answer=PEOPLE_WRITE)
def test_each_side_has_one_eos_and_that_at_its_end_whatever_people_write(encoder: SegmentEncoder, question: str, answer: str) -> None:
    for side in sides(encoder, question, answer):
        assert side.count(1) == 1
        assert side[-1] == encoder.tokenizer.eos_token_id == 1
        assert 0 not in side, "pad"


def test_bytes_of_byt5_begin_at_three() -> None:
    encoder = SegmentEncoder(ByT5Tokenizer())
    assert sides(encoder, "Hi", "ก") == ([ord("H") + 3, ord("i") + 3, 1], [0xE0 + 3, 0xB8 + 3, 0x81 + 3, 1])


def test_the_source_of_a_generation_is_that_of_training(encoder: SegmentEncoder) -> None:
    turns = ("Who wrote it?", "Ada wrote it.", "And then?")
    source, _ = sides(encoder, *turns, "hello")
    messages = conversation(*turns).messages
    assert list(encoder.encode_all([source_segments(PLAIN, messages)])[0].input_ids) == source


def test_turns_and_context_are_words_apart_for_t5() -> None:
    encoder = SegmentEncoder(t5())
    source, _ = sides(encoder, "Who wrote it?", "Ada wrote it.", "hello \n", "there")
    assert source == in_pretraining(encoder.tokenizer, "Who wrote it?\nAda wrote it.\nhello")
    context = Message("user", "Translate", context="the task")
    with_context = encoder.encode_all([source_segments(PLAIN, [context])])[0].input_ids
    assert list(with_context) == in_pretraining(encoder.tokenizer, "Translate the task")


def test_the_end_of_a_template_loses_its_space_and_keeps_its_words() -> None:
    cue = Template(**{**vars(PLAIN), "assistant_start": "Answer:\n"})
    text = "".join(segment.text for segment in source_segments(cue, [Message("user", "Why?")]))
    assert text == "Why?\nAnswer:"


def test_limits_hold_on_each_side_with_their_eos_rules(encoder: SegmentEncoder) -> None:
    question, answer = "Who wrote it? hello there", "Ada wrote it. hello there"
    whole_source, whole_target = sides(encoder, question, answer)
    source, target = sides(encoder, question, answer, max_source=5, max_target=4)
    assert source == whole_source[-5:], "the beginning is lost, the EOS kept"
    assert target == whole_target[:4], "the end is lost, and the EOS with it: the answer goes on"
    assert 1 not in target
    assert sides(encoder, question, answer, max_source=len(whole_source), max_target=len(whole_target)) == (whole_source, whole_target)


def test_padding_is_never_attended_nor_trained(encoder: SegmentEncoder) -> None:
    pairs = [("Who wrote it?", "Ada"), ("hello", "สวัสดีครับ hello there")]
    rows = encode_conversations([conversation(*p) for p in pairs], encoder, PLAIN, Limits(512), seq2seq=True)
    batch = collate_seq2seq(((0,), (1,)), flatten(rows, ["a", "b"], ["s", "s"], {}), pad_id=0, step_tokens=1)
    for i, pair in enumerate(pairs):
        source, target = (in_pretraining(encoder.tokenizer, text) for text in pair)
        assert batch["input_ids"][i][batch["attention_mask"][i] == 1].tolist() == source
        assert batch["attention_mask"][i].tolist() == [1] * len(source) + [0] * (batch["input_ids"].shape[1] - len(source))
        assert batch["labels"][i][: len(target)].tolist() == target
        assert (batch["labels"][i][len(target) :] == -100).all()
