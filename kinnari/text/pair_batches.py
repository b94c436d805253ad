"""Preference pairs as batches: chosen and rejected stand in neighbouring rows and go through one forward.

    row 0   chosen of pair 0     <human>: 1+1? <bot>: 2 EOS      labels are the answer's tokens, so that what is scored
    row 1   rejected of pair 0   <human>: 1+1? <bot>: 3 EOS      can be told from the prompt; nothing is shifted
    row 2   chosen of pair 1     ...

The plan counts pairs: `global_size` pairs an optimizer step, `micro_size` pairs a forward, and `step_tokens` of a batch is the
number of pairs in the whole global batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from kinnari.functional.labels import IGNORED
from kinnari.text.batches import Batch, pad_rows
from kinnari.text.pairs import PairTable
from kinnari.text.plan import BatchPlan, MicroBatch
from kinnari.text.progress import progress_line
from kinnari.text.records import FlatRecords, Tokens, flatten
from kinnari.text.template import Renderer
from kinnari.text.tokens import EncodedRows, SegmentEncoder

PAIRS_AT_A_TIME = 1024


@dataclass(frozen=True)
class PairRecords:
    """N tokenised pairs: rows 2i and 2i + 1 of `rows` are the chosen and the rejected conversation of pair i."""

    rows: FlatRecords

    def __len__(self) -> int:
        return len(self.rows) // 2

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of the longer row of each pair, [N] int64: both are padded to it."""
        return self.rows.lengths.reshape(-1, 2).max(axis=1)

    @property
    def counts(self) -> np.ndarray:
        """[N] int64 ones: a pair counts once in the loss, however long it is."""
        return np.ones(len(self), np.int64)

    @property
    def sources(self) -> list[str]:
        """Source of each pair, [N]."""
        return self.rows.sources[::2]

    def without(self, gone: Sequence[int]) -> PairRecords:
        """The records without the pairs numbered in `gone`."""
        left = np.setdiff1d(np.arange(len(self)), np.asarray(gone, np.int64))
        rows = (2 * left[:, None] + np.arange(2)).reshape(-1).tolist()
        tokens = [Tokens(*self.rows[row]) for row in rows]
        return PairRecords(flatten(tokens, [self.rows.record_ids[r] for r in rows], [self.rows.sources[r] for r in rows], {}))


def encode_pairs(
    table: PairTable, encoder: SegmentEncoder, template: Renderer, *, answers_alone: bool = False, show: bool = False
) -> PairRecords:
    """Tokens of all pairs of a table; of each row the last answer with its end is marked as trained.

    Args:
        answers_alone: leave the prompts out, but for a BOS that begins every row.
    """
    ids: list[np.ndarray] = []
    trained: list[np.ndarray] = []
    lengths: list[np.ndarray] = []
    with progress_line("tokenising pairs", len(table), show=show) as advance:
        for start in range(0, len(table), PAIRS_AT_A_TIME):
            sides = [side for pair in table[start : start + PAIRS_AT_A_TIME] for side in (pair.chosen, pair.rejected)]
            encoded = encoder.encode_rows([template.render(side.messages, "last_answer") for side in sides])
            kept = _kept(encoded, encoder.tokenizer.bos_token_id) if answers_alone else np.ones(len(encoded.ids), bool)
            ids.append(encoded.ids[kept])
            trained.append(encoded.trained[kept])
            lengths.append(np.add.reduceat(kept, encoded.offsets[:-1], dtype=np.int64))
            advance(start + len(sides) // 2)
    rows = [(table.prompts[n], f"{i}-{j}") for n, i, j in table.places.tolist() for _ in (0, 1)]
    names = [f"{ranked.record_id}/{places}" for ranked, places in rows]
    offsets = np.concatenate([[0], *map(np.asarray, lengths)]).cumsum().astype(np.int64)
    flags = np.concatenate([np.zeros(0, bool), *trained])
    flags[offsets[:-1]] = False  # the first token of a row has no predecessor
    flat = np.concatenate([np.zeros(0, np.int32), *ids])
    return PairRecords(FlatRecords(flat, flags, offsets, names, [ranked.source for ranked, _ in rows]))


def _kept(encoded: EncodedRows, bos_id: int | None) -> np.ndarray:
    """[total] bool: the tokens of answers, and a BOS at the beginning of a row."""
    kept = encoded.trained.copy()
    starts = encoded.offsets[:-1]
    kept[starts] |= encoded.ids[starts] == (-1 if bos_id is None else bos_id)
    return kept


def collate_pairs(micro: MicroBatch, records: PairRecords, pad_id: int, step_pairs: int) -> Batch:
    """Pairs -> rows [2P, T], padded on the right; an empty micro-batch becomes one pair without labels, which counts nothing."""
    members = [pair for row in micro for pair in row] or [0]
    places = [2 * pair + side for pair in members for side in (0, 1)]
    tokens, trained = zip(*(records.rows[place] for place in places), strict=True)
    ids, mask = pad_rows(tokens, pad_id)
    labels, _ = pad_rows([np.where(flags, row, IGNORED) for row, flags in zip(tokens, trained, strict=True)], IGNORED)
    if not micro:
        labels[:] = IGNORED
    return Batch(
        input_ids=torch.from_numpy(ids),
        attention_mask=torch.from_numpy(mask),
        labels=torch.from_numpy(labels),
        record_ids=[records.rows.record_ids[2 * pair] for pair in members] if micro else [],
        step_tokens=step_pairs,
        rows_together=2,
    )


def counted_pairs(batch: Batch) -> Tensor:
    """[P] bool: the pairs that count; an empty micro-batch has one that does not."""
    return (batch["labels"] != IGNORED).any(1)[0::2]


class PairStepDataset(Dataset[list[Batch]]):
    """`dataset[step]` is the list of micro-batches of pairs of this rank in that optimizer step; see `kinnari.text.steps`."""

    def __init__(self, records: PairRecords, plan: BatchPlan, rank: int, pad_id: int) -> None:
        self.records, self.plan, self.rank, self.pad_id = records, plan, rank, pad_id

    def __getitem__(self, step: int) -> list[Batch]:
        share: Sequence[MicroBatch] = self.plan.share(step, self.rank)
        return [collate_pairs(micro, self.records, self.pad_id, self.plan.step_tokens(step)) for micro in share]

    def __len__(self) -> int:
        return self.plan.steps_per_epoch
