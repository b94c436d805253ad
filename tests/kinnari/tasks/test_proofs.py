"""The proofs fail where a rule is broken, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from kinnari.models.toy import byte_tokenizer
from kinnari.tasks.proofs import Proofs, StoredRecord, prove
from kinnari.text.conversation import Conversation, Message
from kinnari.text.records import TokenizedRecords, Tokens, flatten
from kinnari.text.template import Template
from kinnari.text.tokens import SegmentEncoder, encode_conversations
from kinnari.text.truncation import Limits

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


def proofs(
    change: Callable[[TokenizedRecords], None],
    *,
    seq2seq: bool = False,
    max_length: int = 40,
    trained_on: str = "answers",
    said: str = "answers",
) -> Proofs:
    """Records tokenised with the policy `trained_on`, changed, and proven against the policy `said`."""
    encoder, limits = SegmentEncoder(byte_tokenizer()), Limits(max_length)
    encoded = encode_conversations(CONVERSATIONS, encoder, TEMPLATE, limits, trained_on, seq2seq)
    records = flatten([t for t in encoded if isinstance(t, Tokens)], [c.record_id for c in CONVERSATIONS], ["s"] * 3, {})
    change(records)
    return prove([StoredRecord(c, *records[i]) for i, c in enumerate(CONVERSATIONS)], encoder, TEMPLATE, said, seq2seq)


def nothing(records: TokenizedRecords) -> None:
    pass


@pytest.mark.parametrize("seq2seq", [False, True])
def test_sound_records_pass_and_the_cut_one_is_named(seq2seq: bool) -> None:
    assert proofs(nothing, seq2seq=seq2seq) == Proofs(3, ["long"], 2, [])
    assert proofs(nothing, seq2seq=seq2seq, max_length=100) == Proofs(3, [], 3, [])


@pytest.mark.parametrize("policy", ["answers", "last_answer", "everything"])
def test_every_policy_is_proven_against_itself(policy: str) -> None:
    assert proofs(nothing, trained_on=policy, said=policy).failures == []


def test_a_source_that_lost_its_beginning_is_still_a_stretch_of_its_conversation() -> None:
    encoder, limits = SegmentEncoder(byte_tokenizer()), Limits(40, max_source=6)
    template = replace(TEMPLATE, bos=True)
    (tokens,) = encode_conversations([conversation("r", "a long question", "Yes")], encoder, template, limits)
    assert isinstance(tokens, Tokens) and tokens.cut
    record = StoredRecord(conversation("r", "a long question", "Yes"), np.asarray(tokens.input_ids), np.asarray(tokens.trained))
    assert prove([record], encoder, template) == Proofs(1, ["r"], 1, [])
    record.ids[2] += 1
    assert "not a stretch" in prove([record], encoder, template).failures[0]


def test_prompts_that_are_trained_against_the_configuration_fail() -> None:
    failures = proofs(nothing, trained_on="everything", said="answers").failures
    assert sum("every token is trained, the prompt too, although loss_on=answers" in f for f in failures) == 3


def test_an_earlier_answer_that_is_not_trained_fails() -> None:
    def untrain_first_answer(records: TokenizedRecords) -> None:
        ids, trained = records[1]
        trained[: ids.tolist().index(2) + 1] = False

    assert [f for f in proofs(untrain_first_answer).failures if "not those that loss_on says" in f]


def test_a_record_without_trained_token_fails() -> None:
    def untrain(records: TokenizedRecords) -> None:
        records[0][1][:] = False

    assert proofs(untrain).failures[0] == "one: no token is trained"


@pytest.mark.parametrize("seq2seq", [False, True])
def test_a_missing_end_fails(seq2seq: bool) -> None:
    def lose_eos(records: TokenizedRecords) -> None:
        records[0][0][-1] = 40

    found = proofs(lose_eos, seq2seq=seq2seq)
    assert found.failures == ["one: an answer does not end in the trained end token 2, so the model would not learn to stop"]
    assert found.with_end == 1


def test_an_untrained_end_fails() -> None:
    def untrain_eos(records: TokenizedRecords) -> None:
        records[0][1][-1] = False

    assert "one: an answer does not end" in proofs(untrain_eos).failures[0]


def test_an_end_missing_in_the_middle_fails() -> None:
    def lose_first_eos(records: TokenizedRecords) -> None:
        ids = records[1][0]
        ids[ids.tolist().index(2)] = 40

    assert "two: an answer does not end" in proofs(lose_first_eos).failures[0]


@pytest.mark.parametrize("seq2seq", [False, True])
def test_another_prompt_fails(seq2seq: bool) -> None:
    def change_prompt(records: TokenizedRecords) -> None:
        records[0][0][0] += 1

    (failure,) = proofs(change_prompt, seq2seq=seq2seq).failures
    assert "prompt used for generation" in failure
