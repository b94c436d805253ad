"""What a record that is too long loses, and what it keeps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinnari.errors import ConfigError
from kinnari.models.toy import byte_tokenizer
from kinnari.text.conversation import Conversation, Message
from kinnari.text.records import Tokens
from kinnari.text.tokens import SegmentEncoder, encode_conversations
from kinnari.text.truncation import Limits, cut_row, longest_first, parted
from tests.kinnari.text.test_template import chatml

ENCODER = SegmentEncoder(byte_tokenizer())
# source: BOS and the question; target: the answer and EOS. A byte is a token.
BARE = chatml(user="{content}", assistant_start="", after_eos="", bos=True)


def one_token_at_a_time(source, target, most):
    while source + target > most:
        if source > target:
            source -= 1
        else:
            target -= 1
    return source, target


@given(st.integers(0, 40), st.integers(0, 40), st.integers(2, 50))
def test_longest_first_is_the_longer_side_losing_one_token_at_a_time(source, target, most):
    assert longest_first(source, target, most) == one_token_at_a_time(source, target, most)


def encode(*turns, template=BARE, seq2seq=False, loss_on="answers", **limits):
    messages = tuple(Message("assistant" if i % 2 else "user", text) for i, text in enumerate(turns))
    row = Conversation(messages=messages, record_id="r", source="s", language="en", licence="x")
    (tokens,) = encode_conversations([row], ENCODER, template, Limits(**limits), loss_on, seq2seq)
    return tokens


def text(ids):
    return ENCODER.tokenizer.decode(ids)


def both(tokens):
    """(whole row, trained part, cut)."""
    return text(tokens.input_ids), text(tokens.input_ids[np.asarray(tokens.trained)]), tokens.cut


@pytest.mark.parametrize(
    ("limits", "row", "trained"),
    [
        ({"max_length": 14}, "<s>question?yes</s>", "yes</s>"),  # 1 + 9 + 3 + 1 tokens
        ({"max_length": 13}, "<s>question?yes", "yes"),
        ({"max_length": 11}, "<s>question?y", "y"),
        ({"max_length": 14, "max_source": 5}, "<s>ion?yes</s>", "yes</s>"),
        ({"max_length": 14, "max_source": 1}, "?yes</s>", "yes</s>"),
        ({"max_length": 14, "max_target": 4}, "<s>question?yes</s>", "yes</s>"),
        ({"max_length": 14, "max_target": 3}, "<s>question?yes", "yes"),
        ({"max_length": 14, "max_source": 3, "max_target": 2}, "<s>n?ye", "ye"),
        ({"max_length": 8, "max_source": 6}, "<s>tion?ye", "ye"),
        ({"max_length": 8, "truncation": "longest_first"}, "<s>on?yes</s>", "yes</s>"),
        ({"max_length": 5, "truncation": "longest_first"}, "<s>n?ye", "ye"),
    ],
)
def test_the_source_loses_its_beginning_but_bos_and_the_target_its_end(limits, row, trained):
    assert both(encode("question?", "yes", **limits)) == (row, trained, row != "<s>question?yes</s>")


@pytest.mark.parametrize("limits", [{"max_length": 13}, {"max_length": 99, "max_source": 9}, {"max_length": 99, "max_target": 3}])
def test_drop_leaves_out_what_does_not_fit(limits):
    assert encode("question?", "yes", truncation="drop", **limits) == "too_long"
    assert both(encode("question?", "yes", max_length=14, truncation="drop"))[2] is False


def test_no_eos_is_put_where_the_answer_goes_on():
    ids = encode("q", "a long answer", max_length=6).input_ids
    assert ENCODER.tokenizer.eos_token_id not in ids


def test_text_after_the_last_eos_is_nothing_to_lose():
    template = chatml(user="{content}", assistant_start="", after_eos="\n\n")

    assert both(encode("q", "yes", template=template, max_length=5, truncation="drop")) == ("qyes</s>", "yes</s>", False)
    assert both(encode("q", "yes", template=template, max_length=6)) == ("qyes</s>\n", "yes</s>", False)


def test_what_is_left_of_an_earlier_answer_cut_in_two_is_read_not_trained():
    assert both(encode("q", "earlier", "r", "yes", max_length=99, max_source=6)) == ("<s>ier</s>ryes</s>", "yes</s>", True)
    assert both(encode("q", "earlier", "r", "yes", max_length=99, max_source=6, loss_on="everything"))[1] == "ier</s>ryes</s>"


def test_a_prompt_that_fills_the_row_drops_the_record():
    assert encode("question?", "yes", max_length=10) == "the prompt fills max_length=10 tokens before the answer begins"


@pytest.mark.parametrize(
    ("limits", "row", "trained"),
    [
        ({"max_length": 5}, "ion?</s>yes</s>", "yes</s>"),
        ({"max_length": 5, "max_target": 2}, "ion?</s>ye", "ye"),
        ({"max_length": 5, "max_source": 99}, "question?</s>yes</s>", "yes</s>"),
        ({"max_length": 8, "truncation": "longest_first"}, "on?</s>yes</s>", "yes</s>"),
    ],
)
def test_an_encoder_decoder_has_a_limit_for_each_side(limits, row, trained):
    template = chatml(user="{content}", assistant_start="")
    assert both(encode("question?", "yes", template=template, seq2seq=True, **limits))[:2] == (row, trained)
    assert encode("question?", "yes", template=template, seq2seq=True, max_length=5, truncation="drop") == "too_long"


@given(
    boundary=st.integers(1, 12),
    target=st.integers(1, 12),
    most=st.integers(2, 20),
    max_source=st.none() | st.integers(1, 12),
    max_target=st.none() | st.integers(1, 12),
    truncation=st.sampled_from(["tail", "longest_first"]),
    has_bos=st.booleans(),
)
def test_a_cut_row_is_within_every_limit_and_holds_the_end_of_the_source_and_the_start_of_the_target(
    boundary, target, most, max_source, max_target, truncation, has_bos
):
    ids = np.arange(boundary + target, dtype=np.int32)
    trained = ids >= boundary
    limits = Limits(most, max_source, max_target, truncation)

    kept, flags, cut = cut_row(ids, trained, boundary, limits, has_bos=has_bos, everything=False)

    source, answer = kept[~flags], kept[flags]
    assert len(kept) == len(flags) <= most
    assert len(source) <= (max_source or 99) and len(answer) <= (max_target or 99)
    assert answer.tolist() == list(range(boundary, boundary + len(answer)))
    rest = source[1:] if has_bos and len(source) > 1 and source[0] == 0 else source
    if len(answer):
        assert rest.tolist() == list(range(boundary - len(rest), boundary))
    assert cut == (len(kept) < len(ids))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_length": 1}, "2 or more"),
        ({"max_length": 9, "max_source": 0}, "max_source=0"),
        ({"max_length": 9, "max_target": -1}, "max_target=-1"),
        ({"max_length": 9, "truncation": "left"}, "tail, longest_first, drop"),
    ],
)
def test_limits_that_mean_nothing_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        Limits(**fields)


def document(count, max_length):
    return parted(Tokens(np.arange(count), np.arange(count) > 0), Limits(max_length, truncation="split"))


def test_a_document_is_parted_with_one_token_before_each_part():
    parts = document(6, 3)
    assert [part.input_ids.tolist() for part in parts] == [[0, 1, 2], [2, 3, 4], [4, 5]]
    assert [part.trained.tolist() for part in parts] == [[False, True, True], [False, True, True], [False, True]]
    assert not any(part.cut for part in parts)


@given(st.integers(2, 200), st.integers(2, 50))
def test_every_token_of_a_document_is_trained_once(count, max_length):
    parts = document(count, max_length)
    assert [int(i) for part in parts for i in part.input_ids[part.trained]] == list(range(1, count))
    assert max(len(part.input_ids) for part in parts) <= max_length


def test_parts_of_which_nothing_is_trained_are_left_out():
    tokens = Tokens(np.arange(9), np.arange(9) > 6)
    (part,) = parted(tokens, Limits(4, truncation="split"))
    assert part.input_ids[part.trained].tolist() == [7, 8]


def test_other_rules_part_nothing():
    tokens = Tokens(np.arange(9), np.arange(9) > 0)
    assert parted(tokens, Limits(4, truncation="tail")) == [tokens]
    with pytest.raises(ConfigError, match="max_source and max_target mean nothing"):
        Limits(4, max_target=2, truncation="split")
