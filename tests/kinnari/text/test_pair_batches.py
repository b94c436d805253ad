"""Pairs as batches: what stands in which row."""

import numpy as np
import pytest

from kinnari.models.toy import byte_tokenizer
from kinnari.text.batches import halve
from kinnari.text.conversation import Message
from kinnari.text.pair_batches import PairStepDataset, collate_pairs, encode_pairs
from kinnari.text.pairs import PairTable
from kinnari.text.plan import BatchPlan
from kinnari.text.ranked import RankedAnswers, ScoredAnswer
from kinnari.text.template import Template
from kinnari.text.tokens import SegmentEncoder
from tests.kinnari.text.test_template import shipped

PAD = 0


def ranked(number: int, *answers: str) -> RankedAnswers:
    scored = tuple(ScoredAnswer(text, float(-place)) for place, text in enumerate(answers))
    return RankedAnswers(
        prompt=(Message("user", f"{number}?"),), answers=scored, record_id=f"r:{number}", source="s", language="en", licence="MIT"
    )


@pytest.fixture(scope="module")
def encoder() -> SegmentEncoder:
    return SegmentEncoder(byte_tokenizer())


@pytest.fixture(scope="module")
def template() -> Template:
    return shipped("wangchan")


@pytest.fixture(scope="module")
def records(encoder, template):
    return encode_pairs(PairTable([ranked(1, "yes", "perhaps so"), ranked(2, "a", "b", "c")]), encoder, template)


def test_chosen_and_rejected_stand_in_neighbouring_rows(records, encoder):
    batch = collate_pairs(((0,), (2,)), records, PAD, step_pairs=7)

    texts = [encoder.tokenizer.decode(ids[mask.bool()]) for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)]
    assert [text.split("<bot>:")[1].strip() for text in texts] == ["yes</s>", "perhaps so</s>", "b</s>", "c</s>"]
    assert [text.split("<bot>:")[0] for text in texts[:2]] == [texts[0].split("<bot>:")[0]] * 2
    assert batch["step_tokens"] == 7 and batch["record_ids"] == ["r:1/0-1", "r:2/1-2"]


def test_labels_are_the_answer_with_its_end(records, encoder):
    batch = collate_pairs(((0,),), records, PAD, step_pairs=1)

    for ids, labels, answer in zip(batch["input_ids"], batch["labels"], ("yes", "perhaps so"), strict=True):
        trained = labels != -100
        assert encoder.tokenizer.decode(ids[trained]).strip() == f"{answer}</s>"
        assert labels[trained].tolist() == ids[trained].tolist()


def test_an_empty_micro_batch_keeps_ranks_in_step_and_counts_nothing(records):
    batch = collate_pairs((), records, PAD, step_pairs=3)

    assert batch["input_ids"].shape[0] == 2 and (batch["labels"] == -100).all() and batch["record_ids"] == []


def test_halving_never_parts_a_pair(records):
    batch = collate_pairs(((0,), (1,), (2,)), records, PAD, step_pairs=3)

    first, second = halve(batch)

    assert [half["input_ids"].shape[0] for half in (first, second)] == [4, 2]
    assert second["input_ids"].tolist() == batch["input_ids"][4:].tolist()
    assert halve(second) == [second]


def test_removed_pairs_leave_the_others_as_they_were(records):
    rest = records.without([1])

    assert len(rest) == 2 and rest.rows.record_ids[2:] == ["r:2/1-2"] * 2
    assert all(np.array_equal(a, b) for a, b in zip(rest.rows[3], records.rows[5], strict=True))


def test_a_step_has_every_pair_once_over_the_ranks(records):
    plan = BatchPlan(lengths=records.lengths, trained_counts=records.counts, weights=np.ones(3), global_size=2, micro_size=1, world_size=2,
                     packing="length_grouped", capacity=99, seed=1)  # fmt: skip
    seen = [
        name
        for step in range(2)
        for rank in (0, 1)
        for batch in PairStepDataset(records, plan, rank, PAD)[step]
        for name in batch["record_ids"]
    ]

    assert sorted(seen) == ["r:1/0-1", "r:2/0-1", "r:2/1-2"]
    assert [PairStepDataset(records, plan, 0, PAD)[step][0]["step_tokens"] for step in range(2)] == [2, 1]
