"""The proofs fail where a rule is broken, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from kinnari.models.toy import byte_tokenizer
from kinnari.tasks.proofs import Proofs, answer_ends, prove
from kinnari.text.conversation import Conversation, Message
from kinnari.text.records import TokenizedRecords
from kinnari.text.seq2seq_tokens import tokenize_seq2seq
from kinnari.text.template import Template
from kinnari.text.tokens import SegmentEncoder, tokenize_conversations

TEMPLATE = Template(
    name="t",
    system="{content}\n",
    user="{content}\n",
    user_with_context=None,
    assistant_start="A:",
    after_eos="",
    default_system=None,
    bos=False,
)


def conversation(name: str, *turns: str) -> Conversation:
    messages = tuple(Message("assistant" if i % 2 else "user", turn) for i, turn in enumerate(turns))
    return Conversation(messages=messages, record_id=name, source="s", language="en", licence="MIT")


CONVERSATIONS = [conversation("one", "Hi", "Hello"), conversation("two", "a", "b", "c", "สวัสดี"), conversation("long", "q", "x" * 50)]


def proofs(change: Callable[[TokenizedRecords], None], *, seq2seq: bool = False, max_length: int = 40) -> Proofs:
    encoder = SegmentEncoder(byte_tokenizer())
    tokenize = tokenize_seq2seq if seq2seq else tokenize_conversations
    records = tokenize(CONVERSATIONS, encoder, TEMPLATE, max_length)
    change(records)
    return prove(records, range(len(records)), CONVERSATIONS, encoder, TEMPLATE, seq2seq)


def nothing(records: TokenizedRecords) -> None:
    pass


@pytest.mark.parametrize("seq2seq", [False, True])
def test_sound_records_pass_and_the_cut_one_is_named(seq2seq: bool) -> None:
    assert proofs(nothing, seq2seq=seq2seq) == Proofs(3, ["long"], [])
    assert proofs(nothing, seq2seq=seq2seq, max_length=100).cut == []


def test_a_record_without_trained_token_fails() -> None:
    def untrain(records: TokenizedRecords) -> None:
        records[0][1][:] = False

    assert proofs(untrain).failures == ["one: no token is trained"]


@pytest.mark.parametrize("seq2seq", [False, True])
def test_a_missing_eos_fails(seq2seq: bool) -> None:
    def lose_eos(records: TokenizedRecords) -> None:
        records[0][0][-1] = 40

    (failure,) = proofs(lose_eos, seq2seq=seq2seq).failures
    assert failure.startswith("one: an answer does not end in the trained EOS token 2")


def test_an_untrained_eos_fails() -> None:
    def untrain_eos(records: TokenizedRecords) -> None:
        records[0][1][-1] = False

    assert len(proofs(untrain_eos).failures) == 1


def test_an_eos_missing_in_the_middle_fails() -> None:
    def lose_first_eos(records: TokenizedRecords) -> None:
        ids, trained = records[1]
        ids[answer_ends(trained)[0]] = 40

    found = proofs(lose_first_eos).failures
    assert any("does not end" in failure for failure in found)


@pytest.mark.parametrize("seq2seq", [False, True])
def test_another_prompt_fails(seq2seq: bool) -> None:
    def change_prompt(records: TokenizedRecords) -> None:
        records[0][0][0] += 1

    (failure,) = proofs(change_prompt, seq2seq=seq2seq).failures
    assert "prompt used for generation" in failure


def test_ends_of_answers() -> None:
    assert answer_ends(np.array([0, 1, 1, 0, 1], dtype=bool)) == [2, 4]
    assert answer_ends(np.array([1], dtype=bool)) == [0]
    assert answer_ends(np.array([0, 0], dtype=bool)) == []
