"""The batch contract: what datamodules deliver and what lightning modules train on.

One item of a training dataloader is the share of one rank in ONE optimizer step: a list of `Batch`es (micro-batches).

    packed row            a a a a b b b . .        two records and two pad tokens
    input_ids             5 8 3 2 7 4 2 0 0
    labels             -100 . 3 2 . 4 2 . .        -100 (shown .) where nothing is trained; not shifted, the loss shifts
    position_ids          0 1 2 3 0 1 2 0 1        restart with each record
    segment_ids           0 0 0 0 1 1 1 2 2        pad tokens are a segment of their own
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NotRequired, TypedDict

import numpy as np
import torch
from torch import Tensor

from kinnari.functional.labels import IGNORED
from kinnari.text.plan import MicroBatch
from kinnari.text.records import TokenizedRecords

# Rows are padded to a multiple of this: tensor cores and vector units like it, and it costs at most 7 tokens a row.
MULTIPLE = 8


class Batch(TypedDict):
    """One micro-batch. Legend: B rows, T tokens a row (seq2seq: T source tokens, S target tokens).

    Keys:
        input_ids: [B, T] int64.
        attention_mask: [B, T] int64, 1 on real tokens.
        labels: causal [B, T], seq2seq [B, S]; int64, -100 where not trained, not shifted.
        position_ids, segment_ids: [B, T] int64, in packed batches only.
        record_ids: the records inside, for error messages.
        step_tokens: trained tokens in the whole global batch of this optimizer step; of pairs, the number of pairs.
        rows_together: rows that belong together and are never parted, 2 for pairs (`kinnari.text.pair_batches`); absent: 1.
    """

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    position_ids: NotRequired[Tensor]
    segment_ids: NotRequired[Tensor]
    record_ids: list[str]
    step_tokens: int
    rows_together: NotRequired[int]


def collate_causal(micro: MicroBatch, records: TokenizedRecords, pad_id: int, packed: bool, step_tokens: int) -> Batch:
    """Rows of records -> padded tensors; an empty micro-batch becomes one row without any trained token."""
    rows = micro or ((0,),)
    width = _round_up(max(int(records.lengths[list(row)].sum()) for row in rows))
    shape = (len(rows), width)
    ids = np.full(shape, pad_id, np.int64)
    labels = np.full(shape, IGNORED, np.int64)
    mask = np.zeros(shape, np.int64)
    positions = np.zeros(shape, np.int64)
    segments = np.zeros(shape, np.int64)
    for b, row in enumerate(rows):
        at = 0
        for segment, record in enumerate(row):
            tokens, trained = records[record]
            span = slice(at, at + len(tokens))
            ids[b, span], mask[b, span] = tokens, 1
            labels[b, span] = np.where(trained & bool(micro), tokens, IGNORED)
            positions[b, span], segments[b, span] = np.arange(len(tokens)), segment
            at += len(tokens)
        positions[b, at:], segments[b, at:] = np.arange(width - at), len(row)
    batch = _batch(ids, mask, labels, [records.record_ids[r] for row in micro for r in row], step_tokens)
    if packed:
        batch["position_ids"], batch["segment_ids"] = torch.from_numpy(positions), torch.from_numpy(segments)
    return batch


def collate_seq2seq(micro: MicroBatch, records: TokenizedRecords, pad_id: int, step_tokens: int) -> Batch:
    """One record a row: untrained tokens to the encoder, trained tokens become the target."""
    members = [row[0] for row in micro] or [0]
    sources, targets = [], []
    for record in members:
        tokens, trained = records[record]
        sources.append(tokens[~trained])
        targets.append(tokens[trained])
    ids, mask = pad_rows(sources, pad_id)
    labels, _ = pad_rows(targets, IGNORED)
    if not micro:
        labels[:] = IGNORED
    return _batch(ids, mask, labels, [records.record_ids[r] for row in micro for r in row], step_tokens)


def pad_rows(rows: Sequence[Sequence[int] | np.ndarray], value: int, left: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Ids [B, T] int64 padded with `value`, on the left for generation, and the mask [B, T] of real tokens."""
    width = _round_up(max(len(row) for row in rows))
    ids = np.full((len(rows), width), value, np.int64)
    mask = np.zeros((len(rows), width), np.int64)
    for b, row in enumerate(rows):
        span = slice(width - len(row), width) if left else slice(0, len(row))
        ids[b, span], mask[b, span] = row, 1
    return ids, mask


def halve(batch: Batch) -> list[Batch]:
    """The same rows in two micro-batches; a single row (or pair) cannot be halved and comes back alone."""
    rows, together = batch["input_ids"].shape[0], batch.get("rows_together", 1)
    if rows == together:
        return [batch]
    middle = (rows // together + 1) // 2 * together
    halves: list[Batch] = []
    for span in (slice(0, middle), slice(middle, rows)):
        part = {key: value[span] if isinstance(value, Tensor) else value for key, value in batch.items()}
        halves.append(part)  # type: ignore[arg-type]
    return halves


def padding_fraction(batches: Sequence[Batch]) -> tuple[int, int]:
    """(real tokens, all tokens incl. padding) that the model computes on; targets of seq2seq batches are counted too."""
    real = total = 0
    for batch in batches:
        real += int(batch["attention_mask"].sum())
        total += batch["input_ids"].numel()
        if batch["labels"].shape != batch["input_ids"].shape:
            real += int((batch["labels"] != IGNORED).sum())
            total += batch["labels"].numel()
    return real, total


def _batch(ids: np.ndarray, mask: np.ndarray, labels: np.ndarray, record_ids: list[str], step_tokens: int) -> Batch:
    return Batch(
        input_ids=torch.from_numpy(ids),
        attention_mask=torch.from_numpy(mask),
        labels=torch.from_numpy(labels),
        record_ids=record_ids,
        step_tokens=step_tokens,
    )


def _round_up(length: int) -> int:
    return max(MULTIPLE, -(-length // MULTIPLE) * MULTIPLE)
