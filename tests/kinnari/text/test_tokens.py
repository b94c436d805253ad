"""Token ids and loss masks (contract 2)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinnari.errors import ConfigError
from kinnari.models.toy import byte_tokenizer
from kinnari.text.conversation import Conversation, Message
from kinnari.text.template import Segment
from kinnari.text.tokens import BROKEN_TEXT, NO_ANSWER, SegmentEncoder, encode_conversations, prompt_ids
from kinnari.text.truncation import Limits
from tests.kinnari.text.test_template import chatml


@pytest.fixture(scope="module")
def encoder():
    return SegmentEncoder(byte_tokenizer())


def record(question, answer, record_id="r:0"):
    messages = (Message("user", question), Message("assistant", answer))
    return Conversation(messages=messages, record_id=record_id, source="s", language="th", licence="x")


def tokenize(encoder, *records, max_length=512, template=None, seq2seq=False):
    return encode_conversations(records, encoder, template or chatml(), Limits(max_length), seq2seq=seq2seq)


def arrays(tokens):
    return tokens.input_ids, tokens.trained


def decode(encoder, ids):
    return encoder.tokenizer.decode(ids)


multilingual = st.text(alphabet="สวัสดีครับ안녕하세요你好こんにちは abc<|im_end|>\n😀", min_size=1, max_size=20)


@given(question=multilingual, answer=multilingual.filter(str.strip))
def test_trained_tokens_spell_exactly_the_answer_and_its_eos(encoder, question, answer):
    ids, trained = arrays(tokenize(encoder, record(question, answer))[0])

    assert ids[trained][-1] == encoder.tokenizer.eos_token_id
    assert decode(encoder, ids[trained][:-1]) == answer


@given(question=multilingual, answer=multilingual.filter(str.strip))
def test_the_prompt_is_a_token_prefix_of_the_answered_prompt(encoder, question, answer):
    one = record(question, answer)
    ids, trained = arrays(tokenize(encoder, one)[0])

    (prompt,) = prompt_ids(encoder, chatml(), [one.prompt()])

    assert ids[: len(prompt)].tolist() == prompt
    assert not trained[: len(prompt)].any()


def test_control_tokens_typed_by_a_user_stay_characters(encoder):
    ids, _ = arrays(tokenize(encoder, record("<|im_end|>", "fine"))[0])

    control = encoder.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert (ids == control).sum() == 1  # the template's own


def test_labels_come_from_lengths_even_when_pad_is_eos(encoder):
    tokenizer = byte_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token

    ids, trained = arrays(tokenize(SegmentEncoder(tokenizer), record("Hi", "Yo"))[0])

    assert ids[trained].tolist()[-1] == tokenizer.eos_token_id == tokenizer.pad_token_id


def test_a_cut_answer_loses_its_eos_and_is_counted(encoder):
    (tokens,) = tokenize(encoder, record("Hi", "x" * 100), max_length=40)

    assert len(tokens.input_ids) == 40 and tokens.cut
    assert tokens.input_ids[tokens.trained][-1] != encoder.tokenizer.eos_token_id


def test_a_prompt_longer_than_max_length_is_dropped_with_its_reason(encoder):
    assert tokenize(encoder, record("x" * 100, "short"), max_length=40) == [
        "the prompt fills max_length=40 tokens before the answer begins"
    ]


@pytest.mark.parametrize("seq2seq", [False, True])
def test_a_record_without_an_answer_is_dropped(encoder, seq2seq):
    only_question = Conversation(messages=(Message("user", "Hi"),), record_id="r:1", source="s", language="en", licence="x")

    assert tokenize(encoder, only_question, seq2seq=seq2seq) == ["the record has no answer to train on"]


def test_trained_tokens_are_counted_per_record(encoder):
    found = tokenize(encoder, record("a", "bb"), record("ccc", "d"))

    assert [int(tokens.trained.sum()) for tokens in found] == [3, 2]  # answer bytes and EOS


BARE = chatml(user="{content}", assistant_start="")


def test_seq2seq_sources_and_targets_end_in_one_eos_each(encoder):
    ids, trained = arrays(tokenize(encoder, record("ทำไม", "เพราะ"), template=BARE, seq2seq=True)[0])

    eos = encoder.tokenizer.eos_token_id
    assert decode(encoder, ids[~trained][:-1]) == "ทำไม" and (ids[~trained] == eos).tolist().count(True) == 1
    assert decode(encoder, ids[trained][:-1]) == "เพราะ" and (ids[trained] == eos).tolist().count(True) == 1
    assert ids[~trained][-1] == ids[trained][-1] == eos


def test_a_long_seq2seq_source_loses_its_beginning_and_keeps_its_eos(encoder):
    (tokens,) = tokenize(encoder, record("a" * 50 + "?", "b" * 50), max_length=20, template=BARE, seq2seq=True)

    ids, trained = arrays(tokens)
    assert decode(encoder, ids[~trained][:-1]) == "a" * 18 + "?"
    assert ids[trained].tolist()[-1] != encoder.tokenizer.eos_token_id and tokens.cut


def one_token_list_at_a_time(encoder, segments):
    """The same by the tokenizer's ordinary call, piece by piece."""
    tokenizer, ids, trained = encoder.tokenizer, [], []
    for kind, text, flag in segments:
        special = {"bos": [tokenizer.bos_token_id], "eos": [tokenizer.eos_token_id]}
        split = kind in ("text", "answer")
        piece = tokenizer(text, add_special_tokens=False, split_special_tokens=split)["input_ids"] if text else special.get(kind, [])
        ids += piece
        trained += [flag] * len(piece)
    return ids, trained


@given(
    st.lists(st.tuples(st.sampled_from(["bos", "template", "text", "opening", "answer", "eos"]), multilingual, st.booleans()), max_size=8)
)
def test_rows_are_what_the_tokenizer_says_piece_by_piece(encoder, pieces):
    segments = [Segment(kind, "" if kind in ("bos", "eos") else text, flag) for kind, text, flag in pieces]

    rows = encoder.encode_rows([segments, segments])

    for i in range(2):
        ids, trained = rows.row(i)
        assert (ids.tolist(), trained.tolist()) == one_token_list_at_a_time(encoder, segments)


def test_results_come_in_order_with_a_reason_for_each_that_cannot_be_trained_on(encoder):
    rows = [record("a", "b"), record("a", ""), record("\ud800", "b"), record("x" * 99, "b"), record("ก", "ข")]

    found = encode_conversations(rows, encoder, chatml(), Limits(60))

    reasons = [tokens if isinstance(tokens, str) else None for tokens in found]
    assert reasons == [None, NO_ANSWER, BROKEN_TEXT, "the prompt fills max_length=60 tokens before the answer begins", None]
    assert decode(encoder, found[4].input_ids[found[4].trained][:-1]) == "ข"
    assert found[0].input_ids.dtype == np.int32 and found[0].trained.dtype == bool


def test_an_unknown_role_is_a_reason_and_an_unknown_policy_a_mistake_of_the_config(encoder):
    odd = Conversation(messages=(Message("tool", "x"), Message("assistant", "y")), record_id="r", source="s", language="en", licence="x")

    assert encode_conversations([odd], encoder, chatml(), Limits(60))[0].startswith("Unknown role 'tool'")
    for seq2seq in (False, True):
        with pytest.raises(ConfigError, match="loss_on=all is unknown"):
            encode_conversations([record("a", "b")], encoder, chatml(), Limits(60), loss_on="all", seq2seq=seq2seq)
    with pytest.raises(ConfigError, match="Use loss_on=answers"):
        encode_conversations([record("a", "b")], encoder, chatml(), Limits(60), loss_on="everything", seq2seq=True)


@pytest.mark.parametrize("seq2seq", [False, True])
def test_no_record_at_all_gives_no_result(encoder, seq2seq):
    assert encode_conversations([], encoder, chatml(), Limits(60), seq2seq=seq2seq) == []


@pytest.mark.parametrize("loss_on", ["answers", "everything", "last_answer"])
def test_the_first_token_of_a_row_is_never_trained(encoder, loss_on):
    bare = chatml(user="{content}", assistant_start="", after_eos="")
    document = Conversation(messages=(Message("assistant", "abc"),), record_id="r", source="s", language="en", licence="x")

    (tokens,) = encode_conversations([document], encoder, bare, Limits(60), loss_on)
    assert tokens.trained.tolist() == [False, True, True, True]


def test_a_last_answer_that_is_not_to_be_trained_leaves_an_encoder_decoder_nothing(encoder):
    untrained = Conversation(
        messages=(Message("user", "a"), Message("assistant", "b", trained=False)), record_id="r", source="s", language="en", licence="x"
    )
    assert encode_conversations([untrained], encoder, chatml(), Limits(60), seq2seq=True) == [NO_ANSWER]


def test_the_template_names_the_token_that_ends_answers(encoder):
    ends = chatml(answer_end="<|im_end|>")
    (tokens,) = encode_conversations([record("a", "b")], encoder, ends, Limits(60))

    assert tokens.input_ids[tokens.trained].tolist()[-1] == encoder.tokenizer.convert_tokens_to_ids("<|im_end|>")
    with pytest.raises(ConfigError, match=r"ends answers with <end>, which is no token .*model/template=own"):
        encode_conversations([record("a", "b")], encoder, chatml(answer_end="<end>"), Limits(60))
