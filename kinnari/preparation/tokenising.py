"""The last stage: conversations -> token ids and loss masks on disk, in a folder that `datasets.load_from_disk` opens as well.

input_ids  [5, 8, 3, 2]        labels  [-100, -100, 3, 2]     -100 where nothing is trained; not shifted
record_id  "alpaca:17"; "plain_text:3#2" is the second part of a document that was split         source  "alpaca"
language  "th", told from the answer where the source does not say
conversation  17   its number among the cleaned ones          characters  of all messages          cut  whether it lost tokens
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from kinnari.functional.labels import IGNORED
from kinnari.preparation.cleaning import told_language
from kinnari.preparation.conversations import ArrowWriter, ConversationTable, characters, from_bytes, to_bytes
from kinnari.preparation.reading import REJECTS
from kinnari.preparation.rejects import dropped_line
from kinnari.preparation.store import COUNTS
from kinnari.preparation.workers import ordered_map, worker_count
from kinnari.text.conversation import Conversation
from kinnari.text.progress import progress_line
from kinnari.text.records import Tokens

TOKENS = "data-00000-of-00001.arrow"  # the name `datasets` would give it
SCHEMA = pa.schema(
    {
        "input_ids": pa.list_(pa.int32()),
        "labels": pa.list_(pa.int32()),
        "record_id": pa.string(),
        "source": pa.string(),
        "language": pa.string(),
        "conversation": pa.int64(),
        "characters": pa.int64(),
        "trained_tokens": pa.int32(),
        "cut": pa.bool_(),
    }
)
Encode = Callable[[list[Conversation]], list[list[Tokens] | str]]


@dataclass(frozen=True)
class _Encoded:
    """What a process returns for a block: rows, lines of what was dropped with its number, and why."""

    rows: bytes
    dropped: list[tuple[int, str]]
    reasons: dict[tuple[str, str, str], int]  # (source, language, reason) -> conversations


def tokenise(table: ConversationTable, encode: Encode, folder: Path, workers: int | str = "auto", show: bool = True) -> None:
    """Write the tokens of all conversations, in order, and those of which nothing can be trained.

    Args:
        encode: conversations -> for each its rows (several if it was split), or why it has none; runs in the worker processes.
    """

    def one_block(start: int) -> _Encoded:
        block = table.block(start)
        return _columns(block, encode(block), start)

    numbers: list[int] = []
    reasons: Counter[tuple[str, str, str]] = Counter()
    with ExitStack() as stack:
        out = stack.enter_context(ArrowWriter(folder / TOKENS, SCHEMA))
        rejects = stack.enter_context(open(folder / REJECTS, "w", encoding="utf-8"))
        advance = stack.enter_context(progress_line("tokenising", len(table), show))
        blocks = ordered_map(one_block, table.starts(), worker_count(workers, len(table)))
        for start, done in zip(table.starts(), blocks, strict=True):
            out.write(from_bytes(done.rows))
            numbers += [position for position, _ in done.dropped]
            rejects.writelines(line for _, line in done.dropped)
            reasons.update(done.reasons)
            advance(start)
    np.save(folder / "dropped.npy", np.array(numbers, dtype=np.int64))
    dropped = [[*key, count] for key, count in reasons.most_common()]
    (folder / COUNTS).write_text(json.dumps({"rows": out.rows, "dropped": dropped}, ensure_ascii=False), encoding="utf-8")
    _describe_as_dataset(folder)


def _columns(block: list[Conversation], encoded: list[list[Tokens] | str], start: int) -> _Encoded:
    kept: list[_Row] = []
    dropped: list[tuple[int, str]] = []
    reasons: Counter[tuple[str, str, str]] = Counter()
    for number, (conversation, rows) in enumerate(zip(block, encoded, strict=True), start):
        language = told_language(conversation)
        if isinstance(rows, str):
            dropped.append((number, dropped_line(conversation, language, rows)))
            reasons[conversation.source, language, rows] += 1
        else:
            kept += [_Row(number, part, conversation, language, tokens) for part, tokens in enumerate(rows)]
    return _Encoded(to_bytes(_batch(kept)), dropped, dict(reasons))


class _Row(NamedTuple):
    number: int  # of the conversation
    part: int  # 0 for the first
    conversation: Conversation
    language: str
    tokens: Tokens

    @property
    def record_id(self) -> str:
        return self.conversation.record_id + (f"#{self.part + 1}" if self.part else "")

    @property
    def characters(self) -> int:
        """Of the whole conversation, told once."""
        return 0 if self.part else characters(self.conversation)


def _batch(kept: list[_Row]) -> pa.RecordBatch:
    ids = [np.asarray(row.tokens.input_ids, dtype=np.int32) for row in kept]
    flags = [np.asarray(row.tokens.trained, dtype=bool) for row in kept]
    offsets = np.cumsum([0, *map(len, ids)], dtype=np.int32)
    flat = np.concatenate(ids) if ids else np.zeros(0, np.int32)
    trained = np.concatenate(flags) if flags else np.zeros(0, bool)
    trained[offsets[:-1][np.diff(offsets) > 0]] = False  # the first token of a record has no predecessor
    labels = np.where(trained, flat, np.int32(IGNORED))
    sums = np.concatenate([[0], np.cumsum(trained)])
    return pa.record_batch(
        [
            pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat)),
            pa.ListArray.from_arrays(pa.array(offsets), pa.array(labels)),
            pa.array([row.record_id for row in kept], pa.string()),
            pa.array([row.conversation.source for row in kept], pa.string()),
            pa.array([row.language for row in kept], pa.string()),
            pa.array([row.number for row in kept], pa.int64()),
            pa.array([row.characters for row in kept], pa.int64()),
            pa.array((sums[offsets[1:]] - sums[offsets[:-1]]).astype(np.int32)),
            pa.array([row.tokens.cut for row in kept], pa.bool_()),
        ],
        schema=SCHEMA,
    )


def _describe_as_dataset(folder: Path) -> None:
    """The two small files by which `datasets.load_from_disk` recognises a folder; writing them needs no `datasets`."""

    def feature(kind: pa.DataType) -> dict[str, Any]:
        if pa.types.is_list(kind):
            return {"feature": feature(kind.value_type), "_type": "List"}
        return {"dtype": "bool" if pa.types.is_boolean(kind) else str(kind), "_type": "Value"}

    info = {"citation": "", "description": "", "homepage": "", "license": "", "features": {f.name: feature(f.type) for f in SCHEMA}}
    state: dict[str, Any] = {
        "_data_files": [{"filename": TOKENS}],
        "_fingerprint": "kinnari",
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }
    (folder / "dataset_info.json").write_text(json.dumps(info, indent=1), encoding="utf-8")
    (folder / "state.json").write_text(json.dumps(state, indent=1), encoding="utf-8")
