"""How long a step takes: operations over the device's peak, bytes over its bandwidths, whichever is slower, and what waits for what.

Nothing is measured here. The efficiencies are published ones; `task=plan plan.measure=true` tells what they are on a machine.
"""

from __future__ import annotations

from dataclasses import dataclass

from kinnari.planning.request import Hardware, PlanRequest
from kinnari.planning.trace import Sizes
from kinnari.strategies.precision import COMPUTE_DTYPES

AMPERE_EFFICIENCY = 0.44
"""Share of the peak in training on A100: 44 % for 1.7 billion parameters (Narayanan et al. 2021, arXiv:2104.04473, table 1), 52 % for
more; MosaicML's llm-foundry measures 40 to 50 % for 7 billion."""
VOLTA_EFFICIENCY = 0.30
"""On V100: 39 of 125 TFLOP/s for 1.2 billion parameters on one device (Shoeybi et al. 2019, arXiv:1909.08053, section 5)."""
BANDWIDTH_EFFICIENCY = 0.6
"""Share of the memory bandwidth that answering reaches ("LLM inference performance engineering", Databricks 2023: 55 to 60 % on A100)."""
SECONDS_A_BLOCK = 0.039 / 32
"""Python's time for a block and a token while answering: 25.5 tokens/s of LLaMA-7B with its 32 blocks on A100 without compilation
("Accelerating generative AI with PyTorch II: GPT, fast", 2023)."""
PCIE_GB_S = 15.75
"""16 lanes of PCIe 3, each way."""
LINK_EFFICIENCY = 0.8
"""Share of a link's published bandwidth that large transfers reach: about 12 of 15.75 GB/s over PCIe 3. An assumption for the others."""
HOST_ADAM_S = 0.5e-9
"""Seconds of torch's fused AdamW on the processors of one machine, for each number: 0.49 s of 10^9 on two cores, measured. More cores are
faster until the memory of the host is the limit (28 bytes a number), so this is an upper figure for servers."""
NETWORK_GB_S = 12.5
"""100 Gb/s, shared by the devices of a node."""


def efficiency(hardware: Hardware) -> float:
    """Share of the peak that training reaches."""
    return AMPERE_EFFICIENCY if hardware.flash_attention else VOLTA_EFFICIENCY


def link_bytes_s(hardware: Hardware) -> float:
    """Bytes a second that one device sends to its peers, over the slowest link of a ring."""
    inside = 1e9 * LINK_EFFICIENCY * (hardware.interconnect_gb_s or hardware.host_gb_s or PCIE_GB_S)
    if hardware.nodes == 1:
        return inside
    return min(inside, 1e9 * (hardware.network_gb_s or NETWORK_GB_S / hardware.devices))


def computing(hardware: Hardware, flops: float, moved: float) -> float | None:
    """Seconds of matrix products, or of the bytes they wait for."""
    if not hardware.peak_tflops or not hardware.bandwidth_gb_s:
        return None
    return max(flops / (1e12 * hardware.peak_tflops * efficiency(hardware)), moved / (1e9 * hardware.bandwidth_gb_s))


@dataclass(frozen=True)
class Communication:
    """Bytes that one device sends in an optimizer step.

    Attributes:
        hidden: while it computes (prefetched weights, gradients scattered in the backward).
        waited: with nothing else to do.
    """

    hidden: float
    waited: float

    @property
    def total(self) -> float:
        return self.hidden + self.waited


def communication(request: PlanRequest, sizes: Sizes, micro_batches: int) -> Communication:
    """Ring collectives: reduce-scatter and all-gather send (W - 1) / W of the bytes, all-reduce twice that.

    Args:
        sizes: of the module in the dtypes of `planning.sharding.dtypes`.
    """
    name, ranks = request.parallel.name, request.hardware.world_size
    share = (ranks - 1) / ranks
    if name in ("single", "ddp") or ranks == 1:
        return Communication(0.0, 2 * share * sizes.trainable_bytes if ranks > 1 else 0.0)
    compute = COMPUTE_DTYPES[request.precision].itemsize
    gradients = share * (4 if name == "fsdp" else compute) * sizes.trainable * micro_batches
    if name in ("fsdp", "deepspeed_zero3"):
        gathers = 2 * share * (sizes.frozen_bytes + sizes.trainable_bytes) * micro_batches
        return Communication(gathers + gradients, 0.0)
    if name == "deepspeed_zero1":
        gradients = 2 * share * compute * sizes.trainable  # once, at the end of accumulation
    return Communication(0.0, gradients + share * compute * sizes.trainable)


def stepping(request: PlanRequest, sizes: Sizes, micro_batches: int) -> float:
    """Seconds of the optimizer: weights and state read and written, gradients read.

    Offloaded it works at the pace of the machine's processors, which its ranks share, and gradients come and weights go over the link to
    the host; offloaded weights come for every forward and backward.
    """
    hardware = request.hardware
    ranks = hardware.world_size if request.parallel.name not in ("single", "ddp") else 1
    host = 1e9 * LINK_EFFICIENCY * (hardware.host_gb_s or PCIE_GB_S)
    fetched = 0.0
    if request.parallel.offload_parameters:
        fetched = 2 * micro_batches * (sizes.frozen_bytes + sizes.trainable_bytes) / ranks / host
    if request.parallel.offload_optimizer:
        moved = 2 * COMPUTE_DTYPES[request.precision].itemsize * sizes.trainable / ranks
        return fetched + HOST_ADAM_S * sizes.trainable / hardware.nodes + moved / host
    moved = (2 * 4 * sizes.trainable + 2 * sizes.optimizer_bytes + 4 * sizes.trainable) / ranks
    bandwidth = 1e9 * (hardware.bandwidth_gb_s or 0.0)
    return fetched + (moved / bandwidth if bandwidth else 0.0)


def answering(hardware: Hardware, held_bytes: float, cache_bytes: float, blocks: int, tokens: int, prefill_flops: float) -> float | None:
    """Seconds of one batch of answers: every token reads all weights and the cache of what came before.

    Args:
        held_bytes: of the weights.
        cache_bytes: of keys and values at the end; half of them on average.
        blocks: of the model.
        tokens: of an answer.
        prefill_flops: of the prompts.
    """
    prefill = computing(hardware, prefill_flops, held_bytes)
    if prefill is None:
        return None
    reading = (held_bytes + cache_bytes / 2) / (1e9 * float(hardware.bandwidth_gb_s or 1) * BANDWIDTH_EFFICIENCY)
    overhead = SECONDS_A_BLOCK * blocks if hardware.accelerator == "gpu" else 0.0
    return prefill + tokens * max(reading, overhead)
