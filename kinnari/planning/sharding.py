"""What one device holds of weights, gradients and optimizer state under each strategy, as Kinnari runs them, and at which moment of a step.

Notation: P bytes of the parameters, W ranks, B a block, R what is in no block (embeddings, head), c bytes of a number of the compute dtype.

             weights  masters  gradients              optimizer  gathered                     to communicate
single, ddp  P        -        as they come           8 / 4 P    -                            a bucket (ddp), when the step is done
fsdp         P / W    -        as they come, / W      8 / 4 P/W  R, and 2 B in blocks         gradients of B and their float32 sums
zero1, 2     P        4/c P/W  as they come, / W      8 / c P/W  -                            a bucket in the backward
zero3        P / W    4/c P/W  all the time, / W      8 / c P/W  a layer and others ahead     a bucket all the time

While DeepSpeed's optimizer steps, gradients lie there thrice: as they came, flat, and in float32. Measured on two ranks for every strategy
(docs/planning.md); how far ahead stage 3 gathers is `ZERO_AHEAD_NUMBERS`.

Under single, ddp and fsdp trained weights are the float32 masters themselves, and autocast makes 16-bit copies of them that last for a
step; those are in the traced step. DeepSpeed holds all weights in 16 bits (32-true: in 32) and shards its masters beside them.
Sources: ZeRO, arXiv:1910.02054; deepspeed 0.19; torch 2.13, `torch.distributed.fsdp.fully_shard`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch

from kinnari.planning.optimizer_state import temporary_bytes
from kinnari.planning.request import PlanRequest
from kinnari.planning.trace import Sizes
from kinnari.strategies.buckets import BUCKET_BYTES, ZERO_AHEAD_NUMBERS, ZERO_BUCKET_NUMBERS
from kinnari.strategies.precision import COMPUTE_DTYPES, weight_dtype

GROUP_NUMBERS = 1_000_000_000
"""Numbers that ZeRO-3 steps together: `sub_group_size` of deepspeed 0.19."""
SHARDED = ("fsdp", "deepspeed_zero1", "deepspeed_zero2", "deepspeed_zero3")


Place = Literal["start", "between", "block", "head", "head backward", "block backward", "last", "step"]
"""Moments of a step that differ in what is gathered: `start` before the first layer, `between` blocks of the forward, `last` below the
lowest block of the backward."""


def place_of(part: str) -> Place:
    """Where in a step a part of `planning.fake_step` lies."""
    if part == "end":
        return "step"
    if part in ("head", "head backward"):
        return part  # type: ignore[return-value]
    if part.endswith("left"):
        return "last"
    if part.endswith("backward"):
        return "block backward"
    return "start" if part == "before" else "between" if part == "forward" else "block"


@dataclass(frozen=True, kw_only=True)
class Held:
    """Bytes of one device beside what the traced step shows.

    Attributes:
        weights, adapters, masters, optimizer: there all the time; what is offloaded is 0 here.
        gradients: when the optimizer steps; with `always` their place is there from the beginning.
        share: of the bytes that a whole module has of gradients at a moment, those that are here.
        gathered, communication: place -> whole weights for a moment; buckets and gradients on their way.
        step: more while the optimizer steps.
        host: what lies in host memory instead.
    """

    weights: float
    adapters: float
    masters: float = 0.0
    gradients: float = 0.0
    always: bool = False
    share: float = 1.0
    optimizer: float = 0.0
    gathered: Mapping[Place, float] = field(default_factory=dict)
    communication: Mapping[Place, float] = field(default_factory=dict)
    step: float = 0.0
    host: float = 0.0


def dtypes(request: PlanRequest) -> tuple[torch.dtype, torch.dtype]:
    """(weights, trained): what a forward is computed with, from the gathered or whole parameters.

    FSDP2 gathers everything, and DeepSpeed holds everything, in the compute dtype.
    """
    compute = COMPUTE_DTYPES[request.precision]
    if request.parallel.name in SHARDED:
        return compute, compute
    weights = weight_dtype(request.spec.dtype, request.tuning.name, request.precision)
    return weights, compute if request.precision == "bf16-true" else torch.float32


def held(request: PlanRequest, sizes: Sizes, lora: bool, accumulates: bool = False) -> Held:
    """What `request.parallel` keeps of a model of these sizes.

    Args:
        sizes: of the module in the dtypes that `dtypes` gives.
        lora: whether what is trained is adapters.
        accumulates: whether a step has several micro-batches.
    """
    name, ranks = request.parallel.name, request.hardware.world_size
    step = temporary_bytes(request.optimizer, sizes.largest_trainable)
    if name not in SHARDED:
        bucket = max(min(BUCKET_BYTES, sizes.trainable_bytes), 4 * sizes.largest_trainable) if ranks > 1 else 0.0
        weights, adapters = _parted(sizes.frozen_bytes, sizes.trainable_bytes, lora)
        return Held(
            weights=weights, adapters=adapters, gradients=sizes.trainable_bytes, optimizer=sizes.optimizer_bytes, step=step + bucket
        )
    return _fsdp(request, sizes, lora, step) if name == "fsdp" else _zero(request, sizes, lora, step, accumulates)


def _parted(frozen: float, trained: float, lora: bool) -> tuple[float, float]:
    return (frozen, trained) if lora else (frozen + trained, 0.0)


def _fsdp(request: PlanRequest, sizes: Sizes, lora: bool, step: float) -> Held:
    ranks = request.hardware.world_size
    compute = COMPUTE_DTYPES[request.precision].itemsize
    kept = compute if request.precision == "bf16-true" else 4
    summed = 4 / compute  # gradients are summed in float32
    block, whole = sizes.largest_block, sizes.frozen_bytes + sizes.trainable_bytes
    root = whole - sizes.blocks_bytes
    root_trained = 0.0 if lora else root
    head = 0.0 if lora else min(root, compute * sizes.largest_trainable)  # its gradient is whole until the backward ends
    weights, adapters = _split(sizes, lora, kept * sizes.trainable, ranks)
    return Held(
        weights=weights,
        adapters=adapters,
        gradients=kept * sizes.trainable / ranks,
        share=kept / compute / ranks,
        optimizer=sizes.optimizer_bytes / ranks,
        gathered={
            "start": 2 * (root + block),
            "between": root + 3 * block,
            "block": root + 2 * block,  # the last gathered buffer stays until the next one comes
            "head": root + block,
            "head backward": root + block,
            "block backward": root + 2 * block,
            "last": root + block,
        },
        communication={
            "head backward": head,
            "block backward": head + sizes.largest_block_trainable * (1 + summed),
            "last": root_trained * (1 + summed),
        },
        step=step / ranks,
    )


def _split(sizes: Sizes, lora: bool, trained: float, ranks: int) -> tuple[float, float]:
    """(weights, adapters) of one of so many ranks; the scales of packed weights are nobody's parameters and stay whole."""
    weights, adapters = _parted((sizes.frozen_bytes - sizes.scale_bytes) / ranks, trained / ranks, lora)
    return weights + sizes.scale_bytes, adapters


def _zero(request: PlanRequest, sizes: Sizes, lora: bool, step: float, accumulates: bool) -> Held:
    ranks = request.hardware.world_size
    stage = int(request.parallel.name[-1])
    compute = COMPUTE_DTYPES[request.precision].itemsize
    gradients, share = compute * sizes.trainable / ranks, 1 / ranks
    masters, optimizer = 4 * sizes.trainable / ranks, sizes.optimizer_bytes / ranks
    # the optimizer is given float32 gradients, made of a flat copy; of stage 3 a group at a time
    group = min(sizes.trainable, GROUP_NUMBERS) if stage == 3 else sizes.trainable
    summed = (compute + (4 if compute < 4 else 0)) * group / ranks
    if stage == 3:
        weights, adapters = _split(sizes, lora, sizes.trainable_bytes, ranks)
    else:
        weights, adapters = _parted(sizes.frozen_bytes, sizes.trainable_bytes, lora)
    if accumulates and stage == 1:
        share = 1.0  # nothing is summed over ranks before the last micro-batch
    stays, host = stage == 3 or (accumulates and stage == 1), 0.0
    if request.parallel.offload_optimizer:
        host, masters, optimizer, summed = masters + optimizer + summed + gradients, 0.0, 0.0, 0.0
        gradients, share = 0.0, share if accumulates and stage == 1 else 0.0
    if request.parallel.offload_parameters:
        host, weights, adapters = host + weights + adapters, 0.0, 0.0
    return Held(
        weights=weights,
        adapters=adapters,
        masters=masters,
        gradients=gradients,
        always=stage == 3,
        share=share,
        optimizer=optimizer,
        gathered=_layers(sizes, compute) if stage == 3 else {},
        communication=_bucket(sizes, compute, stays),
        step=max(summed, sizes.small_bytes if stage == 3 else 0.0) + step / ranks,
        host=host,
    )


def _layers(sizes: Sizes, compute: int) -> dict[Place, float]:
    """Of stage 3: the layer that computes, others that are gathered ahead, and the small ones, whole from one step to the next.

    What bitsandbytes computes with 4-bit weights keeps the gathered ones until the optimizer steps (0.50; measured).
    """
    ahead, most = compute * ZERO_AHEAD_NUMBERS, sizes.frozen_bytes + sizes.trainable_bytes - sizes.small_bytes
    outer, inner = sizes.largest_parameter, sizes.largest_in_block
    block = min(ahead + inner, most)
    root = max(outer, block)
    always = sizes.small_bytes + sizes.packed_bytes
    return {
        "start": root + sizes.small_bytes,
        "between": block + always,
        "block": block + always,
        "head": root + always,
        "head backward": root + always,
        "block backward": block + always,
        "last": root + always,
    }


def _bucket(sizes: Sizes, compute: int, stays: bool) -> dict[Place, float]:
    """Of as many numbers as it may have, or as are trained; a gradient that is about to be copied into it is beside it.

    Args:
        stays: not made anew for each backward.
    """
    bucket, gradient = compute * min(ZERO_BUCKET_NUMBERS, sizes.trainable), compute * sizes.largest_trainable
    places: dict[Place, float] = {"head backward": bucket, "block backward": bucket, "last": bucket + gradient}
    if stays:
        forward: dict[Place, float] = {"start": bucket, "between": bucket, "block": bucket, "head": bucket, "step": bucket}
        places = forward | places
    return places
