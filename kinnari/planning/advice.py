"""Does it fit, how many rows fit, and what would make it fit: searches over estimates, each answer in words of the command line.

    cost of a change = slowdown, at least 1  x  devices with it / devices without  x  1.5 if something else is learnt (LoRA for full tuning)

Changes are tried alone, then in twos and threes, until some fit; a set that holds a smaller one that fits is left out.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kinnari.planning.request import Estimate, Parallel, PlanRequest
from kinnari.strategies.tuning import ALL_LINEAR

Estimator = Callable[[PlanRequest], Estimate]

ENOUGH, ENOUGH_ALIKE = 3, 1  # pieces of advice, and those that teach the same, after which no larger sets of changes are tried
MOST_CHANGES = 3
LEARNT_OTHERWISE = 1.5  # so much slower may be what teaches the same
_SHARDED = ("fsdp", "deepspeed_zero3")
# Components that a change may make smaller, so that what cannot help enough is not tried.
_OF_ROWS = ("activations", "loss", "temporaries", "cache", "slack")
_UPDATED = ("masters", "gradients", "optimizer", "communication")
_HELD = ("weights", "casts", "adapters", "reference", "value", *_UPDATED)
_ALL = (*_HELD, *_OF_ROWS, "gathered", "reward_model")


@dataclass(frozen=True)
class Change:
    """One thing that could be done.

    Attributes:
        words: of the command line.
        to: field of `PlanRequest` -> its new value.
        kind: of which a set of changes has at most one each.
        shrinks: components of `Estimate.memory_gib` that may become smaller.
        teaches_otherwise: whether what is learnt changes, not only where and when it is computed.
    """

    words: tuple[str, ...]
    to: dict[str, Any]
    kind: Literal["tuning", "checkpointing", "parallel", "optimizer", "loss", "devices"]
    shrinks: tuple[str, ...]
    teaches_otherwise: bool = False

    def __call__(self, request: PlanRequest) -> PlanRequest:
        """The request with this change; those of tuning and hardware change single fields of them."""
        new = dict(self.to)
        for part in ("tuning", "hardware"):
            if part in new:
                new[part] = dataclasses.replace(vars(request)[part], **new[part])
        return dataclasses.replace(request, **new)


@dataclass(frozen=True)
class Advice:
    """Changes, and what comes of them.

    Attributes:
        words: to add to the command; they take the place of words about the same settings.
        micro_size: rows of a forward that fit; with fewer than asked for, `words` says so.
        peak_memory_gib: of one device.
        host_gib: of host memory, for each device.
        slowdown: time of a step over what it would have taken as asked; below 1 is faster.
        cost: what advice is ranked by.
        memory_gib: component -> GiB, adding up to the peak.
        fits: False for the one answer where nothing fits: what comes nearest.
    """

    words: tuple[str, ...]
    micro_size: int
    peak_memory_gib: float
    host_gib: float
    slowdown: float
    cost: float
    memory_gib: Mapping[str, float]
    fits: bool = True

    def told(self) -> str:
        """One line for people."""
        speed = "as fast" if abs(self.slowdown - 1) < 0.02 else f"{self.slowdown:.2f} x the time"
        host = f", {self.host_gib:.1f} GiB of host memory a device" if self.host_gib >= 0.05 else ""
        return f"{' '.join(self.words)}  ({self.peak_memory_gib:.1f} GiB a device{host}, {speed})"


def room_gib(request: PlanRequest, headroom: float) -> float:
    """GiB of one device that a run may take; infinite where the profile does not say."""
    memory = request.hardware.memory_gib
    return float("inf") if memory is None else memory * (1 - headroom)


def usable_micro_sizes(request: PlanRequest) -> list[int]:
    """Rows of a forward that `batch.global_size` can be laid out in on so many devices, ascending; none if it cannot."""
    share, rest = divmod(request.global_size, request.hardware.world_size)
    return [] if rest else [size for size in range(1, share + 1) if share % size == 0]


def largest_micro_size(request: PlanRequest, estimate_of: Estimator, room: float, most: int | None = None) -> tuple[int, Estimate | None]:
    """(the largest usable micro-batch that fits, its estimate); (0, that of one row) if not even one row does.

    Estimates take time, so the search begins with what was asked for, and goes on where a straight line between the nearest two
    sizes meets `room`: the memory of a step is nearly one.

    Args:
        room: GiB of one device.
        most: no larger one is asked for; None for any.
    """
    sizes = [size for size in usable_micro_sizes(request) if most is None or size <= most]
    if not sizes:
        return 0, None
    known: dict[int, Estimate] = {}

    def gib(place: int) -> float:
        size = sizes[place]
        if size not in known:
            known[size] = estimate_of(dataclasses.replace(request, micro_size=size))
        return known[size].needed_gib

    begin = max((place for place, size in enumerate(sizes) if size <= request.micro_size), default=0)
    if gib(begin) <= room:
        low, high = begin, len(sizes) - 1
        if gib(high) <= room:
            return sizes[high], known[sizes[high]]
    else:
        low, high = 0, begin
        begun = known[sizes[begin]]
        if _least_of_rows(begun, sizes[begin]) > room or gib(low) > room:
            return 0, known.get(sizes[low], begun)
    while high - low > 1:  # sizes[low] fits, sizes[high] does not
        per_row = (gib(high) - gib(low)) / (sizes[high] - sizes[low])
        reached = sizes[low] + (room - gib(low)) / per_row
        place = min(max(bisect.bisect_right(sizes, reached) - 1, low + 1), high - 1)
        low, high = (place, high) if gib(place) <= room else (low, place)
        if low == place and high - low > 1 and gib(low + 1) > room:  # the line is right as a rule: then its neighbour ends the search
            high = low + 1
    return sizes[low], known[sizes[low]]


def advise(request: PlanRequest, asked: Estimate, estimate_of: Estimator, room: float) -> list[Advice]:
    """What would make `request`, whose estimate is `asked`, fit into `room` GiB, the cheapest first.

    Where nothing does, one piece of advice with `fits=False`: what needs least.
    """
    found: list[tuple[frozenset[int], Advice]] = []
    least: Advice | None = None
    changes = possible_changes(request)
    for count in range(MOST_CHANGES + 1):
        for members in itertools.combinations(range(len(changes)), count):
            chosen = [changes[i] for i in members]
            if any(smaller <= set(members) for smaller, _ in found) or len({c.kind for c in chosen}) < count:
                continue
            if count and least and _least_of_rows(asked, request.micro_size, {c for change in chosen for c in change.shrinks}) > room:
                continue
            advice = _tried(request, asked, chosen, estimate_of, room)
            if advice is None:
                continue
            if advice.fits:
                found.append((frozenset(members), advice))
            elif least is None or advice.peak_memory_gib < least.peak_memory_gib:
                least = advice
        alike = sum(not any(changes[i].teaches_otherwise for i in members) for members, _ in found)
        if (len(found) >= ENOUGH and alike >= ENOUGH_ALIKE) or (found and count >= 2):
            break
    if not found:
        return [] if least is None else [least]
    return sorted((advice for _, advice in found), key=lambda advice: (advice.cost, len(advice.words)))


def _least_of_rows(estimate: Estimate, micro_size: int, touched: Collection[str] = ()) -> float:
    """GiB that fewer rows cannot get below: rows take no less each, the rest stays; but for `touched` components, which may vanish."""
    rows = dict.fromkeys(_OF_ROWS, 1 / micro_size)
    paged = 0.0 if "optimizer" in touched else estimate.paged_gib
    return -paged + sum(gib * rows.get(name, 1.0) for name, gib in estimate.memory_gib.items() if name not in touched)


def _tried(request: PlanRequest, asked: Estimate, changes: Sequence[Change], estimate_of: Estimator, room: float) -> Advice | None:
    changed = request
    for change in changes:
        changed = change(changed)
    if not _allowed(changed):
        return None
    size, estimate = largest_micro_size(changed, estimate_of, room, most=request.micro_size)
    if estimate is None:
        return None
    words = [word for change in changes for word in change.words]
    if max(size, 1) != request.micro_size:
        words.append(f"batch.micro_size={max(size, 1)}")
    if not words:  # nothing was changed, and not even one row fits
        return None
    words = list({word.partition("=")[0]: word for word in words}.values())  # a later word about a setting takes the earlier one's place
    slowdown = _time(estimate, changed) / _time(asked, request)
    cost = max(1.0, slowdown) * changed.hardware.world_size / request.hardware.world_size
    if any(change.teaches_otherwise for change in changes):
        cost *= LEARNT_OTHERWISE
    return Advice(
        tuple(words), max(size, 1), estimate.peak_memory_gib, estimate.host_gib, slowdown, cost, estimate.memory_gib, fits=size > 0
    )


def _time(estimate: Estimate, request: PlanRequest) -> float:
    """Of one optimizer step; by the work of one device where nothing is known of its speed."""
    return estimate.seconds_per_step or estimate.flops_per_step / request.hardware.world_size


def possible_changes(request: PlanRequest) -> list[Change]:
    """Everything that could be done to this run, whether it helps or not; a later change may take back part of an earlier one."""
    return [*_of_tuning(request), *_of_devices(request), *_of_parallel(request)]


def _of_tuning(request: PlanRequest) -> Iterator[Change]:
    tuning = request.tuning
    if not tuning.gradient_checkpointing:
        yield Change(("strategy.tuning.gradient_checkpointing=true",), {"tuning": {"gradient_checkpointing": True}}, "checkpointing",
                     ("activations", "temporaries", "slack"))  # fmt: skip
    if not request.chunked_loss:
        yield Change(("model.chunked_loss=true",), {"chunked_loss": True}, "loss", ("loss", "temporaries", "slack"))
    if request.optimizer == "adamw" and request.hardware.accelerator == "gpu":
        yield Change(("optimizer=adamw_8bit",), {"optimizer": "adamw_8bit"}, "optimizer", ("optimizer", "slack"), teaches_otherwise=True)
    adapters = {"r": 16, "alpha": 32, "dropout": 0.0, "bias": "none"} if tuning.name == "full" else {}
    if tuning.name == "full":
        lora = {"name": "lora", "targets": None, "gradient_checkpointing": False, **adapters}
        yield Change(("strategy/tuning=lora",), {"tuning": lora}, "tuning", _ALL, teaches_otherwise=True)
    if tuning.name != "qlora" and tuning.adapter is None:
        qlora = {"name": "qlora", "r": 16, "alpha": 32, "dropout": 0.0, "bias": "none", "targets": ALL_LINEAR,
                 "quant_type": "nf4", "double_quant": True, "gradient_checkpointing": True}  # fmt: skip
        yield Change(("strategy/tuning=qlora",), {"tuning": qlora}, "tuning", _ALL, teaches_otherwise=True)


def _of_devices(request: PlanRequest) -> Iterator[Change]:
    hardware = request.hardware
    parallel = Parallel("ddp") if request.parallel.name == "single" else request.parallel
    shrinks = (*_HELD, "slack") if request.parallel.name not in ("single", "ddp") else ()
    word = ("strategy/parallel=ddp",) if request.parallel.name == "single" else ()
    if hardware.accelerator == "gpu":
        for devices in (2, 4, 8):
            if devices > hardware.devices:
                yield Change((f"hw.devices={devices}", *word), {"hardware": {"devices": devices}, "parallel": parallel}, "devices", shrinks)


def _of_parallel(request: PlanRequest) -> Iterator[Change]:
    name, offload = request.parallel.name, "strategy.parallel.offload_optimizer=true"
    if name not in ("deepspeed_zero2", *_SHARDED):
        yield _sharding("deepspeed_zero2")
    if name not in _SHARDED:
        yield _sharding("fsdp")
        if not request.parallel.offload_optimizer:
            yield _sharding("deepspeed_zero2", offload, offload_optimizer=True)
    if not request.parallel.offload_parameters:
        both = (offload, "strategy.parallel.offload_parameters=true")
        yield _sharding("deepspeed_zero3", *both, offload_optimizer=True, offload_parameters=True)


def _sharding(name: str, *words: str, **options: bool) -> Change:
    shrinks = (*(_HELD if name in _SHARDED else _UPDATED), "slack")
    return Change((f"strategy/parallel={name}", *words), {"parallel": Parallel(name, **options)}, "parallel", shrinks)


def _allowed(request: PlanRequest) -> bool:
    """Whether it makes sense and `kinnari.tasks.rules` would take it: one device shares with nobody, though DeepSpeed may offload on a
    single GPU; integers are not sharded, and only AdamW's state is."""
    parallel, hardware = request.parallel, request.hardware
    if parallel.name in ("single", "ddp"):
        return bool(usable_micro_sizes(request))
    if hardware.world_size == 1 and not (parallel.offload_optimizer and hardware.accelerator == "gpu"):
        return False
    if request.tuning.name == "lora_int8" and parallel.name in _SHARDED:
        return False
    sharded = request.optimizer == "adamw" or (request.optimizer == "lion" and parallel.name != "fsdp")
    return sharded and bool(usable_micro_sizes(request))
