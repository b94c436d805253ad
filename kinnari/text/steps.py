"""Optimizer steps as a torch dataset: `dataset[step]` is the list of micro-batches of this rank in that step."""

from __future__ import annotations

from collections.abc import Iterator

from torch.utils.data import Dataset, Sampler

from kinnari.text.batches import Batch, collate_causal, collate_seq2seq
from kinnari.text.plan import BatchPlan
from kinnari.text.records import TokenizedRecords


class StepDataset(Dataset[list[Batch]]):
    """Random access to the steps of a plan.

    Args:
        records: the tokenised records the plan was made for.
        plan: which records each step trains on.
        rank: data-parallel rank, 0-based.
        pad_id: fills rows; never a label, whatever token it is.
        seq2seq: encoder-decoder batches.
    """

    def __init__(self, records: TokenizedRecords, plan: BatchPlan, rank: int, pad_id: int, seq2seq: bool) -> None:
        self.records, self.plan, self.rank, self.pad_id, self.seq2seq = records, plan, rank, pad_id, seq2seq

    def __getitem__(self, step: int) -> list[Batch]:
        step_tokens = self.plan.step_tokens(step)
        share = self.plan.share(step, self.rank)
        if self.seq2seq:
            return [collate_seq2seq(micro, self.records, self.pad_id, step_tokens) for micro in share]
        packed = self.plan.packing == "packed"
        return [collate_causal(micro, self.records, self.pad_id, packed, step_tokens) for micro in share]

    def __len__(self) -> int:
        return self.plan.steps_per_epoch


class StepSampler(Sampler[int]):
    """Step numbers of one epoch after another, starting anywhere: the data position of a resumed run is its step number.

    `len` is a whole epoch even when the first one starts in the middle, which is what Lightning's progress counters expect.
    """

    def __init__(self, steps_per_epoch: int, start_step: int) -> None:
        self.steps_per_epoch, self.next_step = steps_per_epoch, start_step

    def __iter__(self) -> Iterator[int]:
        end = (self.next_step // self.steps_per_epoch + 1) * self.steps_per_epoch
        while self.next_step < end:
            step = self.next_step
            self.next_step += 1
            yield step

    def __len__(self) -> int:
        return self.steps_per_epoch
