"""What the reference says about preference pairs: computed once, kept in a file, found again by the contents of weights and pairs.

FOLDER/<hash>/rank_0.jsonl    ["hh:12/0-1", -41.25, -39.5]     name of the pair, log-probability in nats of its chosen and rejected answer

A line is written whole and as soon as it is known, so that a killed run goes on after its last one.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import nn

from kinnari.text.batches import Batch
from kinnari.text.pair_batches import PairRecords, collate_pairs

log = logging.getLogger(__name__)

PairLogprobs = dict[str, tuple[float, float]]
"""Name of a pair -> log-probabilities of its chosen and its rejected answer."""


@dataclass(frozen=True)
class ReferencePairs:
    """The pairs a run will see.

    Attributes:
        tables: records, and which pairs of them.
        pad_id: fills rows.
        micro_size: pairs of one forward on one rank.
        folder: of these weights and these pairs (`contents_digest`), known to the first rank; None keeps nothing.
    """

    tables: Sequence[tuple[PairRecords, Sequence[int]]]
    pad_id: int
    micro_size: int
    folder: Path | None = None

    def batches(self, known: Mapping[str, object]) -> list[Batch]:
        """The pairs that are not `known`, of each table the longest first, so that what does not fit into memory is met at once."""
        made = []
        for records, numbers in self.tables:
            lengths = records.lengths
            missing = [i for i in numbers if records.rows.record_ids[2 * i] not in known]
            missing.sort(key=lambda i: -int(lengths[i]))
            parts = [missing[start : start + self.micro_size] for start in range(0, len(missing), self.micro_size)]
            made += [collate_pairs(tuple((i,) for i in part), records, self.pad_id, 1) for part in parts]
        return made


def share_of_rank(batches: Sequence[Batch], rank: int, world_size: int) -> Iterator[tuple[Batch, bool]]:
    """(batch, whether it counts) of a rank: as many forwards on each, where one without work repeats the first."""
    for start in range(0, len(batches), world_size):
        place = start + rank
        yield (batches[place], True) if place < len(batches) else (batches[0], False)


def read_logprobs(folder: Path) -> PairLogprobs:
    """Everything that runs have left in the folder; a line that is torn or no record is passed over, and its pair computed again."""
    known: PairLogprobs = {}
    torn = 0
    for file in sorted(folder.glob("rank_*.jsonl")):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            pair = _read(line)
            if pair is None:
                torn += 1
            else:
                known[pair[0]] = pair[1:]
    if torn:
        log.warning("%d lines of %s are torn; these pairs are computed again", torn, folder)
    return known


def _read(line: str) -> tuple[str, float, float] | None:
    try:
        name, chosen, rejected = json.loads(line)
    except (ValueError, TypeError):
        return None
    right = isinstance(name, str) and all(isinstance(n, float) and math.isfinite(n) for n in (chosen, rejected))
    return cast("tuple[str, float, float]", (name, chosen, rejected)) if right else None


def append_logprobs(folder: Path, rank: int, found: Mapping[str, tuple[float, float]]) -> None:
    """Write lines of `read_logprobs` at the end of this rank's file."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"rank_{rank}.jsonl"
    # begins on a line of its own even where a killed run left half of one
    torn = file.is_file() and file.stat().st_size > 0 and file.read_bytes()[-1:] != b"\n"
    lines = "".join(json.dumps([name, *pair]) + "\n" for name, pair in found.items())
    with open(file, "a", encoding="utf-8") as out:
        out.write(("\n" if torn else "") + lines)


def contents_digest(model: nn.Module, tables: Sequence[PairRecords], precision: str) -> str:
    """Hex SHA-256 of all that decides what the reference says: its weights, the tokens of the pairs, the precision of the forward."""
    found = hashlib.sha256(precision.encode())
    state = model.state_dict()
    # B begins at 0, and then whatever A was drawn as does nothing
    idle = {n.replace("lora_B", part) for n, t in state.items() if "lora_B" in n and not t.any() for part in ("lora_A", "lora_B")}
    for name, tensor in state.items():
        if isinstance(tensor, torch.Tensor) and name not in idle:
            found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    for records in tables:
        rows = records.rows
        for part in (rows.flat_ids, rows.flat_trained, rows.offsets):
            found.update(part.tobytes())
        found.update(json.dumps(rows.record_ids).encode())
    return found.hexdigest()
