"""The batch contract."""

import numpy as np
import pytest
import torch

from kinnari.text.batches import collate_causal, collate_seq2seq, halve, pad_rows, padding_fraction
from kinnari.text.plan import BatchPlan
from kinnari.text.records import Tokens, flatten
from kinnari.text.steps import StepDataset, StepSampler

PAD = 0


@pytest.fixture
def records():
    first = Tokens([5, 8, 3, 2], [False, True, False, True])
    second = Tokens([7, 4, 2], [False, True, True])
    return flatten([first, second], ["s:0", "s:1"], ["s", "s"], {})


def test_a_packed_row_restarts_positions_and_separates_segments(records):
    batch = collate_causal(((0, 1),), records, PAD, packed=True, step_tokens=4)

    assert batch["input_ids"].tolist() == [[5, 8, 3, 2, 7, 4, 2, 0]]
    assert batch["labels"].tolist() == [[-100, 8, -100, 2, -100, 4, 2, -100]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 0, 1, 2, 0]]
    assert batch["segment_ids"].tolist() == [[0, 0, 0, 0, 1, 1, 1, 2]]
    assert batch["attention_mask"].tolist() == [[1] * 7 + [0]]
    assert batch["record_ids"] == ["s:0", "s:1"]


def test_rows_are_padded_on_the_right_with_untrained_tokens(records):
    batch = collate_causal(((0,), (1,)), records, PAD, packed=False, step_tokens=4)

    assert batch["input_ids"][1].tolist() == [7, 4, 2, 0, 0, 0, 0, 0]
    assert batch["labels"][1].tolist() == [-100, 4, 2] + [-100] * 5
    assert "position_ids" not in batch


def test_an_empty_micro_batch_has_a_row_but_nothing_to_train(records):
    batch = collate_causal((), records, PAD, packed=True, step_tokens=4)

    assert batch["input_ids"].shape == (1, 8) and batch["record_ids"] == []
    assert (batch["labels"] == -100).all()


def test_seq2seq_batches_put_untrained_tokens_before_the_encoder(records):
    batch = collate_seq2seq(((0,), (1,)), records, PAD, step_tokens=4)

    assert batch["input_ids"][:, :2].tolist() == [[5, 3], [7, 0]]
    assert batch["labels"][:, :3].tolist() == [[8, 2, -100], [4, 2, -100]]


def test_halving_keeps_every_row_once(records):
    batch = collate_causal(((0,), (1,), (0,)), records, PAD, packed=False, step_tokens=6)

    halves = halve(batch)

    assert [h["input_ids"].shape[0] for h in halves] == [2, 1]
    assert torch.equal(torch.cat([h["labels"] for h in halves]), batch["labels"])
    assert all(h["step_tokens"] == 6 for h in halves)
    assert len(halve(halves[1])) == 1


def test_left_padding_ends_every_row_in_the_same_column():
    ids, mask = pad_rows([[1, 2], [3]], value=9, left=True)

    assert ids[:, -2:].tolist() == [[1, 2], [9, 3]] and mask.sum(1).tolist() == [2, 1]


def test_padding_is_counted_over_all_tokens_the_model_computes(records):
    batch = collate_causal(((0,), (1,)), records, PAD, packed=False, step_tokens=4)

    assert padding_fraction([batch]) == (7, 16)


def test_labels_of_a_step_add_up_to_step_tokens_over_all_ranks(records):
    plan = BatchPlan(
        lengths=records.lengths, trained_counts=records.trained_counts, weights=np.ones(2), global_size=2, micro_size=1,
        world_size=2, packing="none", capacity=8, seed=0,
    )  # fmt: skip
    batches = [b for rank in (0, 1) for b in StepDataset(records, plan, rank, PAD, seq2seq=False)[0]]

    assert sum(int((b["labels"] != -100).sum()) for b in batches) == batches[0]["step_tokens"] == 4


def test_the_sampler_resumes_in_the_middle_of_an_epoch():
    sampler = StepSampler(steps_per_epoch=4, start_step=6)

    assert list(sampler) == [6, 7]
    assert list(sampler) == [8, 9, 10, 11]
    assert len(sampler) == 4
