"""Preference pairs as batches: chosen and rejected stand in neighbouring rows and go through one forward.

    row 0   chosen of pair 0     <human>: 1+1? <bot>: 2 EOS      labels are the answer's tokens, so that what is scored
    row 1   rejected of pair 0   <human>: 1+1? <bot>: 3 EOS      can be told from the prompt; nothing is shifted
    row 2   chosen of pair 1     ...

For an encoder-decoder rows are prompts [2P, T] and labels the answers [2P, S], as `kinnari.text.seq2seq_tokens` lays them out.

The plan counts pairs: `global_size` pairs an optimizer step, `micro_size` pairs a forward, and `step_tokens` of a batch is the
number of pairs in the whole global batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from kinnari.functional.labels import IGNORED
from kinnari.text.batches import Batch, pad_rows
from kinnari.text.conversation import Message
from kinnari.text.pairs import PairTable
from kinnari.text.plan import BatchPlan, MicroBatch
from kinnari.text.progress import progress_line
from kinnari.text.records import FlatRecords, Tokens, flatten
from kinnari.text.seq2seq_tokens import encode_answered
from kinnari.text.template import Renderer
from kinnari.text.tokens import EncodedRows, SegmentEncoder

PAIRS_AT_A_TIME = 1024


@dataclass(frozen=True)
class PairRecords:
    """N tokenised pairs: rows 2i and 2i + 1 of `rows` are the chosen and the rejected conversation of pair i.

    Attributes:
        seq2seq: whether prompt and answer are rows of their own for the model, told apart by what is trained.
    """

    rows: FlatRecords
    seq2seq: bool = False

    def __len__(self) -> int:
        return len(self.rows) // 2

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of the longer row of each pair, [N] int64: both are padded to it."""
        return self.rows.lengths.reshape(-1, 2).max(axis=1)

    @property
    def widths(self) -> np.ndarray:
        """Tokens of the longest row that the model sees of each pair, [N] int64."""
        if not self.seq2seq:
            return self.lengths
        answers = np.add.reduceat(self.rows.flat_trained, self.rows.offsets[:-1], dtype=np.int64)
        return np.maximum(answers, self.rows.lengths - answers).reshape(-1, 2).max(axis=1)

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
        kept = flatten(tokens, [self.rows.record_ids[r] for r in rows], [self.rows.sources[r] for r in rows], {})
        return replace(self, rows=kept)


def encode_pairs(
    table: PairTable,
    encoder: SegmentEncoder,
    template: Renderer,
    *,
    answers_alone: bool = False,
    seq2seq: bool = False,
    show: bool = False,
) -> PairRecords:
    """Tokens of all pairs of a table; of each row the last answer with its end is marked as trained.

    Args:
        answers_alone: leave the prompts out, but for a BOS that begins every row; an encoder then reads EOS alone.
        seq2seq: lay them out for an encoder-decoder.
    """
    ids: list[np.ndarray] = []
    trained: list[np.ndarray] = []
    lengths: list[np.ndarray] = []
    with progress_line("tokenising pairs", len(table), show=show) as advance:
        for start in range(0, len(table), PAIRS_AT_A_TIME):
            sides = [side for pair in table[start : start + PAIRS_AT_A_TIME] for side in (pair.chosen, pair.rejected)]
            read = rows_to_score([side.messages for side in sides], encoder, template, answers_alone=answers_alone, seq2seq=seq2seq)
            ids.append(read.ids)
            trained.append(read.trained)
            lengths.append(read.lengths)
            advance(start + len(sides) // 2)
    rows = [(table.prompts[n], f"{i}-{j}") for n, i, j in table.places.tolist() for _ in (0, 1)]
    names = [f"{ranked.record_id}/{places}" for ranked, places in rows]
    offsets = np.concatenate([[0], *map(np.asarray, lengths)]).cumsum().astype(np.int64)
    flags = np.concatenate([np.zeros(0, bool), *trained])
    flags[offsets[:-1]] = False  # the first token of a row has no predecessor
    flat = np.concatenate([np.zeros(0, np.int32), *ids])
    return PairRecords(FlatRecords(flat, flags, offsets, names, [ranked.source for ranked, _ in rows]), seq2seq)


class ScoredRows(NamedTuple):
    """Conversations to be scored, end to end: ids [total] int32, which of them are the last answer [total] bool, tokens of each row."""

    ids: np.ndarray
    trained: np.ndarray
    lengths: np.ndarray

    def apart(self) -> list[Tokens]:
        """One entry for each row."""
        ends = self.lengths.cumsum()[:-1]
        return [Tokens(ids, trained) for ids, trained in zip(np.split(self.ids, ends), np.split(self.trained, ends), strict=True)]


def rows_to_score(
    conversations: Sequence[Sequence[Message]],
    encoder: SegmentEncoder,
    template: Renderer,
    *,
    answers_alone: bool = False,
    seq2seq: bool = False,
) -> ScoredRows:
    """Conversations that end in an answer as a reward model reads them, in training and later; arguments as of `encode_pairs`."""
    if seq2seq:
        rows = encode_answered(encoder, template, [messages[-1:] if answers_alone else messages for messages in conversations])
        ids = np.concatenate([row.input_ids for row in rows])
        return ScoredRows(ids, np.concatenate([row.trained for row in rows]), np.array([len(row.input_ids) for row in rows], np.int64))
    encoded = encoder.encode_rows([template.render(messages, "last_answer") for messages in conversations])
    kept = _kept(encoded, encoder.tokenizer.bos_token_id) if answers_alone else np.ones(len(encoded.ids), bool)
    return ScoredRows(encoded.ids[kept], encoded.trained[kept], np.add.reduceat(kept, encoded.offsets[:-1], dtype=np.int64))


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
    ids, mask, labels = row_tensors([records.rows[place] for place in places], pad_id, seq2seq=records.seq2seq)
    if not micro:
        labels[:] = IGNORED
    return Batch(
        input_ids=ids,
        attention_mask=mask,
        labels=labels,
        record_ids=[records.rows.record_ids[2 * pair] for pair in members] if micro else [],
        step_tokens=step_pairs,
        rows_together=2,
    )


def row_tensors(rows: Sequence[tuple[np.ndarray, np.ndarray]], pad_id: int, *, seq2seq: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Ids and answer marks of B rows -> input_ids, attention_mask and labels of a `Batch`, padded on the right."""
    if seq2seq:
        ids, mask = pad_rows([row[~trained] for row, trained in rows], pad_id)
        labels, _ = pad_rows([row[trained] for row, trained in rows], IGNORED)
    else:
        ids, mask = pad_rows([row for row, _ in rows], pad_id)
        labels, _ = pad_rows([np.where(trained, row, IGNORED) for row, trained in rows], IGNORED)
    return torch.from_numpy(ids), torch.from_numpy(mask), torch.from_numpy(labels)


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
