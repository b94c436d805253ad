"""Token ids and loss masks (contract 2)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinnari.models.toy import byte_tokenizer
from kinnari.text.conversation import Conversation, Message
from kinnari.text.seq2seq_tokens import tokenize_seq2seq
from kinnari.text.tokens import SegmentEncoder, prompt_ids, tokenize_conversations
from tests.kinnari.text.test_template import chatml


@pytest.fixture(scope="module")
def encoder():
    return SegmentEncoder(byte_tokenizer())


def record(question, answer, record_id="r:0"):
    messages = (Message("user", question), Message("assistant", answer))
    return Conversation(messages=messages, record_id=record_id, source="s", language="th", licence="x")


def tokenize(encoder, *records, max_length=512, template=None):
    return tokenize_conversations(records, encoder, template or chatml(), max_length)


def decode(encoder, ids):
    return encoder.tokenizer.decode(ids)


multilingual = st.text(alphabet="สวัสดีครับ안녕하세요你好こんにちは abc<|im_end|>\n😀", min_size=1, max_size=20)


@given(question=multilingual, answer=multilingual.filter(str.strip))
def test_trained_tokens_spell_exactly_the_answer_and_its_eos(encoder, question, answer):
    records = tokenize(encoder, record(question, answer))

    ids, trained = records[0]
    assert ids[trained][-1] == encoder.tokenizer.eos_token_id
    assert decode(encoder, ids[trained][:-1]) == answer


@given(question=multilingual, answer=multilingual.filter(str.strip))
def test_the_prompt_is_a_token_prefix_of_the_answered_prompt(encoder, question, answer):
    one = record(question, answer)
    ids, trained = tokenize(encoder, one)[0]

    (prompt,) = prompt_ids(encoder, chatml(), [one.prompt()])

    assert ids[: len(prompt)].tolist() == prompt
    assert not trained[: len(prompt)].any()


def test_control_tokens_typed_by_a_user_stay_characters(encoder):
    ids, _ = tokenize(encoder, record("<|im_end|>", "fine"))[0]

    control = encoder.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert (ids == control).sum() == 1  # the template's own


def test_labels_come_from_lengths_even_when_pad_is_eos(encoder):
    tokenizer = byte_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token

    ids, trained = tokenize(SegmentEncoder(tokenizer), record("Hi", "Yo"))[0]

    assert ids[trained].tolist()[-1] == tokenizer.eos_token_id == tokenizer.pad_token_id


def test_a_cut_answer_loses_its_eos_and_is_counted(encoder):
    records = tokenize(encoder, record("Hi", "x" * 100), max_length=40)

    ids, trained = records[0]
    assert len(ids) == 40 and records.num_cut == 1
    assert ids[trained][-1] != encoder.tokenizer.eos_token_id


def test_a_prompt_longer_than_max_length_is_dropped_with_its_reason(encoder):
    records = tokenize(encoder, record("x" * 100, "short", "r:7"), max_length=40)

    assert len(records) == 0
    assert records.dropped == {"r:7": "the prompt fills max_length=40 tokens before the answer begins"}


def test_a_record_without_an_answer_is_dropped(encoder):
    only_question = Conversation(messages=(Message("user", "Hi"),), record_id="r:1", source="s", language="en", licence="x")

    assert tokenize(encoder, only_question).dropped == {"r:1": "the record has no answer to train on"}


def test_flat_storage_gives_back_each_record(encoder):
    records = tokenize(encoder, record("a", "bb"), record("ccc", "d", "r:1"))

    lengths = [len(records[i][0]) for i in range(2)]
    assert records.lengths.tolist() == lengths
    assert records.trained_counts.tolist() == [3, 2]  # answer bytes and EOS
    assert records.flat_ids.dtype == np.int32


def test_seq2seq_sources_and_targets_end_in_one_eos_each(encoder):
    records = tokenize_seq2seq([record("ทำไม", "เพราะ")], encoder, chatml(user="{content}", assistant_start=""), 512)

    ids, trained = records[0]
    eos = encoder.tokenizer.eos_token_id
    assert decode(encoder, ids[~trained][:-1]) == "ทำไม" and (ids[~trained] == eos).tolist().count(True) == 1
    assert decode(encoder, ids[trained][:-1]) == "เพราะ" and (ids[trained] == eos).tolist().count(True) == 1
    assert ids[~trained][-1] == ids[trained][-1] == eos


def test_a_long_seq2seq_source_loses_its_beginning_and_keeps_its_eos(encoder):
    records = tokenize_seq2seq([record("a" * 50 + "?", "b" * 50)], encoder, chatml(user="{content}", assistant_start=""), 20)

    ids, trained = records[0]
    assert decode(encoder, ids[~trained][:-1]) == "a" * 18 + "?"
    assert ids[trained].tolist()[-1] != encoder.tokenizer.eos_token_id and records.num_cut == 1
