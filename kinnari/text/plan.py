"""Which records every optimizer step trains on, decided before the first step and independent of the machine.

    epoch order (seed, epoch)     7 2 9 4 | 1 8 0 5 | 3 6          global_size = 4; the last step of an epoch may be smaller
    step 0 on 2 ranks             rank 0: [7 2]   rank 1: [9 4]    micro_size = 2
    step 0 on 1 rank, packed      row 0: 7 2 4    row 1: 9         the same records, so the same loss

The records of a step depend on seed, epoch and `global_size` alone. Micro-batch size, number of ranks and packing only
decide how they are laid out, which contract 1 makes invisible in the loss; that is why a run can resume on another number
of ranks. Every rank computes the whole plan, so each knows the number of trained tokens of the whole global batch and the
number of micro-batches of every other rank without communicating.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from kinnari.errors import ConfigError

PACKINGS = ("none", "length_grouped", "packed")
WIDTH_STEP = 8  # tokens by which rows grow until the records fit
Row = tuple[int, ...]  # records that share a row, first to last
MicroBatch = tuple[Row, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class BatchPlan:
    """The layout of a whole training run.

    Args:
        lengths: tokens per record, [N] int64.
        trained_counts: trained tokens per record, [N] int64.
        weights: passes over each record per epoch, [N] float; 1 everywhere without mixing.
        global_size: records per optimizer step, over all ranks.
        micro_size: rows of one forward pass on one rank.
        world_size: data-parallel ranks.
        packing: none (rows in order), length_grouped (rows of like length together), packed (several records a row).
        capacity: tokens a packed row may hold.
        seed: decides the order, with the epoch.
        fixed_order: an order to use in every epoch instead of the shuffled one (validation).
        seq2seq: the trained tokens of a record are padded apart from the others, as the decoder's row.

    Raises:
        ConfigError: if global_size is not a multiple of micro_size x world_size; the message lists sizes that are.
    """

    lengths: np.ndarray
    trained_counts: np.ndarray
    weights: np.ndarray
    global_size: int
    micro_size: int
    world_size: int
    packing: str
    capacity: int
    seed: int
    fixed_order: np.ndarray | None = None
    seq2seq: bool = False

    def __post_init__(self) -> None:
        if self.packing not in PACKINGS:
            raise ConfigError(f"packing={self.packing} is unknown; choose one of {', '.join(PACKINGS)}.")
        if len(self.lengths) == 0:
            raise ConfigError("There is no record to train on; check data.<name>.path and the rejects and drops reported above.")
        accumulation(self.global_size, self.micro_size, self.world_size)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one pass over the data."""
        return math.ceil(len(self.order(0)) / self.global_size)

    def order(self, epoch: int) -> np.ndarray:
        """Record indexes of an epoch in the order they are trained, [about sum(weights)] int64."""
        return _epoch_order(self, epoch) if self.fixed_order is None else self.fixed_order

    def records(self, step: int) -> np.ndarray:
        """The records of optimizer step `step` (0-based over the whole run), at most global_size."""
        epoch, position = divmod(step, self.steps_per_epoch)
        return self.order(epoch)[position * self.global_size : (position + 1) * self.global_size]

    def step_tokens(self, step: int) -> int:
        """Trained tokens of the whole global batch of `step`."""
        return int(self.trained_counts[self.records(step)].sum())

    def share(self, step: int, rank: int) -> list[MicroBatch]:
        """The micro-batches of `rank`: as many on every rank, () standing for an empty one that only keeps ranks in step."""
        rows = self._rows(self.records(step))
        mine = rows[rank :: self.world_size]
        most = math.ceil(len(rows) / self.world_size)
        count = math.ceil(most / self.micro_size)
        return [tuple(mine[i * self.micro_size : (i + 1) * self.micro_size]) for i in range(count)]

    def of_like_length(self, records: np.ndarray) -> np.ndarray:
        """The records so that each micro-batch of neighbours holds little padding.

        Longest first: if a step runs out of memory it does so at its first forward pass, not at its last.
        """
        records = records[np.argsort(-self.lengths[records], kind="stable")]
        if not self.seq2seq:
            return records
        targets = self.trained_counts[records]
        return records[two_sided_groups(self.lengths[records] - targets, targets, self.micro_size)]

    def _rows(self, records: np.ndarray) -> list[Row]:
        if self.packing == "packed":
            return pack_evenly(records, self.lengths, self.capacity, self.micro_size * self.world_size)
        if self.packing == "length_grouped":
            return self._grouped(self.of_like_length(records))
        return [(int(r),) for r in records]

    def _grouped(self, records: np.ndarray) -> list[Row]:
        """Sorted rows dealt so that `rows[rank::world_size]` gives each rank runs of neighbours in length."""
        block = self.micro_size * self.world_size
        dealt: list[Row] = []
        for start in range(0, len(records), block):
            part = records[start : start + block]
            per_rank = [part[r * self.micro_size : (r + 1) * self.micro_size] for r in range(self.world_size)]
            if len(part) < block:
                per_rank = [part[r :: self.world_size] for r in range(self.world_size)]
            for i in range(max(len(p) for p in per_rank)):
                dealt += [(int(p[i]),) for p in per_rank if i < len(p)]
        return dealt


@lru_cache(maxsize=8)
def _epoch_order(plan: BatchPlan, epoch: int) -> np.ndarray:
    """Shuffled record indexes; a weight of 2.5 means two passes for all records and a third for a seeded half of them."""
    rng = np.random.default_rng([plan.seed, epoch])
    whole = np.floor(plan.weights).astype(np.int64)
    extra = _spread(plan.weights - whole, rng)
    order = np.repeat(np.arange(len(plan.lengths)), whole + extra)
    return rng.permutation(order)


def _spread(fractions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """0/1 per record, in each run of equal fractions exactly the rounded share, so epochs have one length."""
    chosen = np.zeros(len(fractions), dtype=np.int64)
    for fraction in np.unique(fractions[fractions > 0]):
        members = np.flatnonzero(fractions == fraction)
        chosen[rng.choice(members, size=round(fraction * len(members)), replace=False)] = 1
    return chosen


def temperature_weights(counts: Sequence[int], temperature: float) -> list[float]:
    """Passes per epoch over sources of `counts` records, so that their shares are as n^(1/T) and an epoch has sum(n) records.

    T = 1 leaves the proportions as they are, a larger T evens them out: 100 and 400 records are seen 166.7 and 333.3 times an epoch
    at T = 2. Source of the method: multilingual BERT and XLM-R, which write alpha = 1 / T (Conneau et al. 2020, arXiv:1911.02116).
    """
    most = max(counts, default=1) or 1  # shares of the largest: powers of the counts themselves overflow where T is small
    powers = [(count / most) ** (1 / temperature) for count in counts]
    total, even = sum(counts), sum(powers)
    return [power / even * total / count if count else 1.0 for power, count in zip(powers, counts, strict=True)]


def accumulation(global_size: int, micro_size: int, world_size: int) -> int:
    """Micro-batches per rank in one optimizer step when rows are not packed.

    Raises:
        ConfigError: if the sizes do not divide exactly.
    """
    for name, value in {"batch.global_size": global_size, "batch.micro_size": micro_size}.items():
        if value < 1:
            raise ConfigError(f"{name}={value} must be at least 1.")
    block = micro_size * world_size
    if global_size % block:
        below, above = block * (global_size // block), block * (global_size // block + 1)
        sizes = " or ".join(f"batch.global_size={s}" for s in (below, above) if s)
        micros = [m for m in range(1, global_size + 1) if global_size % (m * world_size) == 0]
        or_micro = f", or batch.micro_size in {micros}" if micros else ""
        raise ConfigError(
            f"batch.global_size={global_size} is not a multiple of batch.micro_size x devices x nodes = "
            f"{micro_size} x {world_size} = {block}. Use {sizes}{or_micro}."
        )
    return global_size // block


def two_sided_groups(sources: np.ndarray, targets: np.ndarray, size: int) -> np.ndarray:
    """An order whose runs of `size` are padded little in their sources and in their targets, which no one sort does for both.

    The first record left begins a group, and what pads it least is added until it is full.

        sources 9 2 8    targets 1 7 7    size 2        0 2 | 1 pads 1 + 6 tokens, 0 1 | 2 would pad 7 + 6

    Args:
        sources, targets: tokens of each record, [N] int64.

    Returns:
        [N] int64, a permutation.
    """
    left = np.arange(len(sources))
    order: list[int] = []
    while len(left):
        group, left = [left[0]], left[1:]
        source, target = sources[group[0]], targets[group[0]]
        while len(group) < size and len(left):
            widths = np.maximum(sources[left], source) + np.maximum(targets[left], target)
            best = int(np.argmin((len(group) + 1) * widths - sources[left] - targets[left]))
            group.append(left[best])
            source, target = max(source, sources[left[best]]), max(target, targets[left[best]])
            left = np.delete(left, best)
        order += [int(i) for i in group]
    return np.array(order, dtype=np.int64)


def pack_evenly(records: np.ndarray, lengths: np.ndarray, capacity: int, block: int) -> list[Row]:
    """As few rows as `capacity` allows, rounded up to whole blocks, and then as short as these rows can be.

    Attention costs the square of a row's length whatever stands in it: eight rows of 130 tokens cost a quarter of two rows of
    520. A block is what all ranks compute at once, so rows up to its size cost no further forward pass.

    Args:
        capacity: most tokens of a row.
        block: rows of one forward pass over all ranks.
    """
    fewest = pack(records, lengths, capacity)
    allowed = -(-len(fewest) // block) * block
    total, longest = int(lengths[records].sum()), int(lengths[records].max(initial=1))
    width = max(longest, -(-total // allowed))
    while width < capacity:
        rows = pack(records, lengths, width)
        if len(rows) <= allowed:
            return rows
        width += WIDTH_STEP
    return fewest


def pack(records: np.ndarray, lengths: np.ndarray, capacity: int) -> list[Row]:
    """Rows of at most `capacity` tokens by best-fit decreasing; fullest rows first.

    Best fit decreasing needs at most 11/9 of the fewest rows possible (Johnson 1974, SIAM J. Comput. 3(4)).
    """
    order = records[np.argsort(-lengths[records], kind="stable")]
    rows: list[list[int]] = []
    room: list[int] = []
    for record in order:
        length = int(lengths[record])
        fitting = [(left, i) for i, left in enumerate(room) if left >= length]
        if fitting:
            left, i = min(fitting)
            rows[i].append(int(record))
            room[i] = left - length
        else:
            rows.append([int(record)])
            room.append(capacity - length)
    return [tuple(rows[i]) for i in sorted(range(len(rows)), key=lambda i: room[i])]
