"""What a run costs on each device: memory at the highest moment, operations, seconds, bytes on the wire."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from kinnari.models.shared_prefix import can_share, cost, lay_out
from kinnari.planning import seconds, sharding
from kinnari.planning.blueprint import Making, shapes_of
from kinnari.planning.device_memory import around
from kinnari.planning.fake_step import Step, Work
from kinnari.planning.optimizer_state import is_paged
from kinnari.planning.request import GIB, Estimate, Phase, PlanRequest
from kinnari.planning.sharding import SHARDED, Held
from kinnari.planning.trace import Traced, trace
from kinnari.strategies.precision import COMPUTE_DTYPES, DTYPES

_STORAGE = DTYPES | {"uint8": torch.uint8}


def estimate(request: PlanRequest) -> Estimate:
    """What `request` costs, from the shapes of its real module; no weights are read and no number is computed.

    Raises:
        ConfigError: the model has no shapes to be found, or the tuning does not fit it.
    """
    if request.task == "ppo":
        from kinnari.planning.ppo import estimate_ppo

        return estimate_ppo(request)
    traced = trained(request, training_step(request))
    held = sharding.held(request, traced.sizes, is_lora(request), micro_batches(request) > 1)
    memory = peak(request, traced, held)
    flops, tokens = _flops(request, traced), tokens_of_step(request)
    sent = seconds.communication(request, traced.sizes, micro_batches(request))
    phase = Phase(memory_gib=memory, flops=flops / request.hardware.world_size, seconds=seconds_of(request, traced, flops, sent, held))
    return assembled(request, {"training": phase}, traced, flops, tokens, sent.total, held)


def assembled(
    request: PlanRequest, phases: Mapping[str, Phase], traced: Traced, flops: float, tokens: float, sent: float, held: Held
) -> Estimate:
    """The record of all phases; the one that needs most memory gives the components."""
    paging = is_paged(request.optimizer) and request.hardware.accelerator == "gpu"

    def gives_way(phase: Phase) -> float:
        return phase.memory_gib.get("optimizer", 0.0) if paging else 0.0

    # paged state fills whatever phase up to the device's memory: then the one that leaves it least
    highest = max(phases.values(), key=lambda phase: (round(phase.peak_gib, 6), phase.peak_gib - gives_way(phase)))
    times = [phase.seconds for phase in phases.values()]
    took = None if any(time is None for time in times) else math.fsum(time for time in times if time is not None)
    records = request.rows.records
    steps = None if records is None else math.ceil(records / records_of_step(request))
    paged = traced.sizes.optimizer_bytes / GIB - gives_way(highest) if paging else 0.0
    return Estimate(
        memory_gib=highest.memory_gib,
        peak_memory_gib=highest.peak_gib,
        phases=dict(phases),
        total_parameters=round(traced.sizes.parameters),
        trainable_parameters=round(traced.sizes.trainable),
        flops_per_step=flops,
        seconds_per_step=took,
        tokens_per_step=tokens,
        communication_bytes=sent,
        hours_per_epoch=None if took is None or steps is None else took * steps / 3600,
        host_gib=held.host / GIB + max(0.0, paged),
        paged_gib=gives_way(highest),
        details={"efficiency": seconds.efficiency(request.hardware), "micro_batches": micro_batches(request)},
    )


# --- the step that is traced -------------------------------------------------------------------------------------------


def is_lora(request: PlanRequest) -> bool:
    return request.tuning.name != "full"


def making(request: PlanRequest) -> Making:
    """How the module of the run is made."""
    weights, trained_dtype = sharding.dtypes(request)
    compute = COMPUTE_DTYPES[request.precision]
    sharded = request.parallel.name in ("fsdp", "deepspeed_zero3")
    named = request.tuning.quant_storage
    packed = _STORAGE[named] if named else compute if sharded else torch.uint8
    own = compute if request.precision == "bf16-true" and not request.parallel.name.startswith("deepspeed") else torch.float32
    fused = request.parallel.name not in SHARDED
    cast = request.precision == "bf16-true" or request.parallel.name.startswith("deepspeed")
    buffers = compute if cast and compute != torch.float32 else None
    return Making(weights=weights, trained=trained_dtype, compute=compute, fused=fused, storage=packed, optimized=own, buffers=buffers)


def training_step(request: PlanRequest, work: Work | None = None, **changes: Any) -> Step:
    """The widest micro-batch of the run."""
    rows = request.rows
    width = _round_up(rows.width)
    count = request.micro_size * (2 if request.task == "reward" else 1)
    target_width = _round_up(rows.target_width or rows.width)
    answers = target_width if request.spec.architecture == "seq2seq" else width
    mixed = request.precision.endswith("mixed") and not request.parallel.name.startswith("deepspeed")
    step = Step(
        work=work or ("reward" if request.task == "reward" else "sft"),
        rows=count,
        width=width,
        target_width=target_width,
        targets=max(1, round(count * answers * rows.trained_share)),
        packed=rows.packed,
        micro_batches=2 if micro_batches(request) > 1 else 1,
        autocast=COMPUTE_DTYPES[request.precision] if mixed else None,
        chunked_loss=request.chunked_loss,
        gpu=request.hardware.accelerator == "gpu",
        flash=request.hardware.flash_attention,
    )
    if request.task == "reward":
        step = _with_shared_prompts(request, step)
    return replace(step, **changes)


def _with_shared_prompts(request: PlanRequest, step: Step) -> Step:
    """The pairs laid out as `kinnari.models.shared_prefix` does, where that is exact and pays."""
    pairs, config = request.rows.pairs, shapes_of(request.spec).config
    config._attn_implementation = config._attn_implementation or "sdpa"  # what transformers takes where nothing is said
    if pairs is None or not request.share_prompts or not can_share(config, request.spec.packing, step.width):
        return step
    size = config.get_text_config(decoder=True).hidden_size
    layout = lay_out(pairs, size)
    if layout.cost(size) >= step.rows * cost(step.width, size):
        return step
    return replace(step, rows=max(layout.rows) + 1, width=layout.width, shared=True)


def _round_up(width: int) -> int:
    return -(-width // 8) * 8  # `kinnari.text.batches.MULTIPLE`


def trained(request: PlanRequest, step: Step) -> Traced:
    freezing = request.freezing if request.task == "reward" else None
    return trace(request.spec, request.tuning, making(request), step, request.optimizer, freezing)


# --- memory ------------------------------------------------------------------------------------------------------------


def peak(request: PlanRequest, traced: Traced, held: Held, beside: Mapping[str, float] | None = None) -> dict[str, float]:
    """GiB by component at the highest moment of a training step, steady state: the optimizer's state is there from the start.

    Args:
        beside: bytes by component that are there all the time (task=ppo).
    """
    moments = [moment_of(request, kinds, held, part) | dict(beside or {}) for part, kinds in traced.peaks.items()]
    return finished(request, max(moments, key=lambda moment: sum(moment.values())))


def moment_of(request: PlanRequest, kinds: Mapping[str, float], held: Held, part: str) -> dict[str, float]:
    """Bytes by component at the highest moment of one part of a step, from what a module that is whole keeps there."""
    place = sharding.place_of(part)
    moment = {kind: value for kind, value in kinds.items() if kind not in ("weights", "adapters", "gradients")}
    moment |= {"weights": held.weights, "adapters": held.adapters, "masters": held.masters, "optimizer": held.optimizer}
    moment["gradients"] = _gradients(request, kinds.get("gradients", 0.0), held, place)
    moment |= {"gathered": held.gathered.get(place, 0.0), "communication": held.communication.get(place, 0.0)}
    if place == "step":
        moment["temporaries"] = moment.get("temporaries", 0.0) + held.step
    return moment


def _gradients(request: PlanRequest, computed: float, held: Held, place: sharding.Place) -> float:
    """What lies there of gradients, of which a whole module would have `computed` bytes by now."""
    if request.parallel.name not in SHARDED:
        return computed
    return held.gradients if held.always or place == "step" else held.share * computed


def finished(request: PlanRequest, moment: Mapping[str, float]) -> dict[str, float]:
    """Bytes by component -> GiB with what lies around them; a paged optimizer keeps on the device what there is room for."""
    bytes_of = dict(moment)
    extra = around(request.hardware, bytes_of)
    room = request.hardware.memory_gib
    if is_paged(request.optimizer) and request.hardware.accelerator == "gpu" and room is not None:
        others = sum(value for name, value in bytes_of.items() if name != "optimizer") / GIB + sum(extra.values())
        bytes_of["optimizer"] = min(bytes_of.get("optimizer", 0.0), max(0.0, room - others) * GIB)
    bytes_of["activations"] = bytes_of.get("activations", 0.0) + bytes_of.pop("inputs", 0.0)
    memory = {name: value / GIB for name, value in bytes_of.items()} | extra
    return {name: value for name, value in memory.items() if value > 0}


# --- operations and time -----------------------------------------------------------------------------------------------


def records_of_step(request: PlanRequest) -> int:
    return request.ppo.num_rollouts if request.task == "ppo" else request.global_size


def micro_batches(request: PlanRequest) -> int:
    """Of one optimizer step on one rank; a packed row holds as many records as fit."""
    rows = request.rows
    a_row = max(1.0, rows.width / rows.mean) if rows.packed and rows.mean else 1.0
    return max(1, math.ceil(request.global_size / (request.micro_size * a_row * request.hardware.world_size) - 1e-9))


def tokens_of_step(request: PlanRequest) -> float:
    """Real tokens of all devices."""
    rows = request.rows
    mean = min(rows.mean or rows.width, rows.width)
    both = 2 if request.task == "reward" else 1
    target = (rows.target_width or 0) if request.spec.architecture == "seq2seq" else 0
    return request.global_size * both * (mean + target)


def _traced_tokens(step: Step, seq2seq: bool) -> float:
    return step.micro_batches * step.rows * (step.width + (step.target_width if seq2seq else 0))


def _flops(request: PlanRequest, traced: Traced) -> float:
    """Of all devices in a step: those of the traced rows, in proportion to real tokens."""
    step = training_step(request)
    if step.shared:
        computed = sum(request.rows.pairs or ()) * step.micro_batches
        return traced.flops * request.global_size * (request.rows.pair_mean or 0.0) / computed
    return traced.flops * tokens_of_step(request) / _traced_tokens(step, request.spec.architecture == "seq2seq")


def seconds_of(request: PlanRequest, traced: Traced, flops: float, sent: seconds.Communication, held: Held) -> float | None:
    hardware = request.hardware
    whole = traced.sizes.frozen_bytes + traced.sizes.trainable_bytes
    kept = max(kinds.get("activations", 0.0) for kinds in traced.peaks.values())
    moved = micro_batches(request) * (2 * whole + 2 * kept)  # weights read twice, activations written and read
    computed = seconds.computing(hardware, flops / hardware.world_size, moved)
    if computed is None:
        return None
    link = seconds.link_bytes_s(hardware)
    return max(computed, sent.hidden / link) + sent.waited / link + seconds.stepping(request, traced.sizes, micro_batches(request))


def block_count(request: PlanRequest) -> int:
    """Repeated layers of the model."""
    return len(shapes_of(request.spec).blocks)
