"""The data's own answers beside rollouts."""

import numpy as np
import pytest
import torch

from kinnari.rollouts.ptx import DataAnswers, ptx_part
from kinnari.text.batches import halve
from kinnari.text.plan import BatchPlan
from kinnari.text.records import flatten
from kinnari.text.tokens import Tokens

# record i: a prompt of i + 1 tokens and an answer of two
RECORDS = flatten([Tokens([1] * (i + 1) + [10 + i, 2], [False] * (i + 1) + [True, True], False) for i in range(5)],
                  [f"r:{i}" for i in range(5)], ["s"] * 5, {})  # fmt: skip


def answers(weights=None, seq2seq=False) -> DataAnswers:
    plan = BatchPlan(lengths=RECORDS.lengths, trained_counts=RECORDS.trained_counts, weights=np.ones(5) if weights is None else weights,
                     global_size=4, micro_size=2, world_size=1, packing="none", capacity=64, seed=3, seq2seq=seq2seq)  # fmt: skip
    return DataAnswers(RECORDS, plan)


def micro_batches(*rows: int) -> list[dict]:
    return [{"input_ids": torch.zeros(n, 8, dtype=torch.int64), "step_tokens": 7, "record_ids": ["p"] * n} for n in rows]


def test_each_record_is_taken_once_before_any_is_taken_again_whatever_the_steps():
    data = answers()
    taken = [record for step in range(10) for record in data.members(step, 4, 4)]

    assert all(sorted(taken[i : i + 5]) == list(range(5)) for i in range(0, 40, 5))
    assert data.members(3, 4, 4) == taken[12:16]
    assert data.members(3, 4, 2) == taken[12:14]  # a last, smaller step


def test_weights_of_sources_hold():
    data = answers(np.array([2.0, 1, 1, 1, 1]))
    taken = [record for step in range(3) for record in data.members(step, 4, 4)]

    assert [taken.count(i) for i in range(5)] == [4, 2, 2, 2, 2]


@pytest.mark.parametrize("seq2seq", [False, True])
def test_rows_go_longest_first_to_the_rows_of_the_micro_batches(seq2seq):
    batches = micro_batches(2, 1)
    answers(seq2seq=seq2seq).beside(batches, [0, 3, 1], tokens=12, pad_id=0)

    last_answers = [[int(row[row != -100][0]) for row in batch["ptx_labels"]] for batch in batches]
    assert last_answers == [[13, 11], [10]]
    assert all(batch["ptx_tokens"] == 12 for batch in batches)
    assert answers().trained_tokens([0, 3, 1]) == 6


def test_halving_a_micro_batch_halves_both():
    (batch,) = micro_batches(4)
    answers().beside([batch], [0, 1, 2, 3], tokens=8, pad_id=0)

    halves = halve(batch)
    assert [len(half["ptx_labels"]) for half in halves] == [2, 2]
    assert torch.equal(torch.cat([ptx_part(half)["labels"] for half in halves]), batch["ptx_labels"])
