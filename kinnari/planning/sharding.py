"""What one device holds of weights, gradients and optimizer state under each strategy, as Kinnari runs them.

Notation: P parameters, W ranks, all in bytes of one device.

             weights   masters   gradients              optimizer   gathered                  to communicate
single, ddp  P         -         P_trained              8 P         -                         a bucket (ddp)
fsdp         P / W     -         P_trained / W          8 P / W     root group + 2 blocks     gradients of a block, twice
zero1        2 P       4 P / W   2 P                    8 P / W     -                         a bucket
zero2        2 P       4 P / W   2 P / W                8 P / W     -                         a bucket
zero3        2 P / W   4 P / W   2 P / W                8 P / W     live parameters           a bucket

Under single, ddp and fsdp trained weights are the float32 masters themselves, and autocast makes 16-bit copies of them that last for a
step; those are in the traced step. DeepSpeed holds all weights in 16 bits (32-true: in 32) and shards its masters beside them.
Sources: ZeRO, arXiv:1910.02054; deepspeed 0.19; torch 2.13, `torch.distributed.fsdp.fully_shard`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from kinnari.planning.optimizer_state import temporary_bytes
from kinnari.planning.request import PlanRequest
from kinnari.planning.trace import Sizes
from kinnari.strategies.microbatches import BUCKET_BYTES
from kinnari.strategies.precision import COMPUTE_DTYPES, weight_dtype

LIVE_PARAMETERS = 1_000_000_000
"""Numbers that ZeRO-3 keeps gathered: `stage3_max_live_parameters` of deepspeed 0.19."""
BUCKET_NUMBERS = 50_000_000
"""`reduce_bucket_size` of `kinnari.strategies.deepspeed.zero_config`, whose import would bring DeepSpeed's strategy with it."""
GROUP_NUMBERS = 1_000_000_000
"""Numbers that ZeRO-3 steps together: `sub_group_size` of deepspeed 0.19."""
SHARDED = ("fsdp", "deepspeed_zero1", "deepspeed_zero2", "deepspeed_zero3")


@dataclass(frozen=True, kw_only=True)
class Held:
    """Bytes of one device that are there in every part of a step.

    Attributes:
        weights, adapters, masters, gradients, optimizer: see above; what is offloaded is 0 here.
        gathered: whole weights for a moment, at most.
        communication: buckets and gradients on their way.
        step: more while the optimizer steps.
        host: what lies in host memory instead.
    """

    weights: float
    adapters: float
    masters: float = 0.0
    gradients: float = 0.0
    optimizer: float = 0.0
    gathered: float = 0.0
    communication: float = 0.0
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


def held(request: PlanRequest, sizes: Sizes, lora: bool) -> Held:
    """What `request.parallel` keeps of a model of these sizes.

    Args:
        sizes: of the module in the dtypes that `dtypes` gives.
        lora: whether what is trained is adapters.
    """
    name, ranks = request.parallel.name, request.hardware.world_size
    step = temporary_bytes(request.optimizer, sizes.largest_trainable)
    if name not in SHARDED:
        bucket = max(min(BUCKET_BYTES, sizes.trainable_bytes), 4 * sizes.largest_trainable) if ranks > 1 else 0.0
        weights, adapters = _parted(sizes.frozen_bytes, sizes.trainable_bytes, lora)
        return Held(
            weights=weights, adapters=adapters, gradients=sizes.trainable_bytes, optimizer=sizes.optimizer_bytes, step=step + bucket
        )
    return _fsdp(request, sizes, lora, step, ranks) if name == "fsdp" else _zero(request, sizes, lora, step, ranks)


def _parted(frozen: float, trained: float, lora: bool) -> tuple[float, float]:
    return (frozen, trained) if lora else (frozen + trained, 0.0)


def _fsdp(request: PlanRequest, sizes: Sizes, lora: bool, step: float, ranks: int) -> Held:
    compute = COMPUTE_DTYPES[request.precision].itemsize
    kept = compute if request.precision == "bf16-true" else 4
    reduced = 4  # gradients are summed in float32
    whole = sizes.frozen_bytes + sizes.trainable_bytes
    root = whole - sizes.blocks_bytes
    root_trained = 0.0 if lora else root
    weights, adapters = _parted(sizes.frozen_bytes / ranks, kept * sizes.trainable / ranks, lora)
    moving = max(sizes.largest_block_trainable, root_trained) * (1 + reduced / compute)
    return Held(
        weights=weights,
        adapters=adapters,
        gradients=kept * sizes.trainable / ranks,
        optimizer=sizes.optimizer_bytes / ranks,
        gathered=root + 2 * sizes.largest_block,
        communication=moving,
        step=step / ranks,
    )


def _zero(request: PlanRequest, sizes: Sizes, lora: bool, step: float, ranks: int) -> Held:
    stage = int(request.parallel.name[-1])
    compute = COMPUTE_DTYPES[request.precision].itemsize
    whole = sizes.frozen_bytes + sizes.trainable_bytes
    gradients = compute * sizes.trainable / (1 if stage == 1 else ranks)
    masters, optimizer = 4 * sizes.trainable / ranks, sizes.optimizer_bytes / ranks
    # the optimizer is given float32 gradients; of stage 3 a group at a time
    summed = 4 * (min(sizes.trainable, GROUP_NUMBERS) if stage == 3 else sizes.trainable) / ranks
    split = ranks if stage == 3 else 1
    weights, adapters = _parted(sizes.frozen_bytes / split, sizes.trainable_bytes / split, lora)
    gathered = min(whole, LIVE_PARAMETERS * compute + sizes.largest_block) if stage == 3 else 0.0
    host = 0.0
    if request.parallel.offload_optimizer:
        host, masters, optimizer, summed = masters + optimizer + summed + gradients, 0.0, 0.0, 0.0
        gradients = gradients if stage == 1 else 0.0
    if request.parallel.offload_parameters:
        host, weights, adapters = host + weights + adapters, 0.0, 0.0
    return Held(
        weights=weights,
        adapters=adapters,
        masters=masters,
        gradients=gradients,
        optimizer=optimizer,
        gathered=gathered,
        communication=compute * min(BUCKET_NUMBERS, sizes.trainable) * (2 if stage == 3 else 1),
        step=summed + step / ranks,
        host=host,
    )
