"""A record of a datamodule as pieces with their marks, for the terminal and the page."""

from __future__ import annotations

from typing import Any

import numpy as np

from kinnari.generation.sampler import answer_end
from kinnari.tasks.inspect_page import ShownRecord
from kinnari.tasks.token_pieces import TokenPieces


def shown_record(data: Any, i: int, pieces: TokenPieces, cut: bool) -> ShownRecord:
    """Training record `i` of a datamodule that is set up."""
    records = data.train_records
    ids, trained = records[i]
    language = data.train_conversations[i].language or "language unknown"
    facts = f"{records.sources[i]}, {language}, {len(ids)} tokens, {int(trained.sum())} trained"
    stop = answer_end(data.tokenizer, data.template, seq2seq=data.seq2seq)
    return pieces_of(ids, trained, pieces, stop, record_id=records.record_ids[i], facts=facts, cut=cut)


def pieces_of(ids: np.ndarray, trained: np.ndarray, pieces: TokenPieces, eos_id: int, **said: Any) -> ShownRecord:
    """Ids [T] and trained [T] cut into readable pieces; `said` are the other fields of the record."""
    cut_up = pieces.pieces(ids)
    starts = [0]
    for piece in cut_up[:-1]:
        starts.append(starts[-1] + piece.count)
    fields: dict[str, Any] = {"record_id": "", "facts": "", "cut": False} | said
    return ShownRecord(
        pieces=cut_up,
        first_ids=[int(ids[start]) for start in starts],
        trained=[bool(trained[start]) for start in starts],
        eos_id=eos_id,
        **fields,
    )
