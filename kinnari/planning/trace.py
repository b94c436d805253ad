"""What a step of the whole model costs, from steps of few blocks: every number is a constant and so much for each block of a kind.

    blocks a a          peak 5.0 GiB
    blocks a a a        peak 5.4 GiB     ->    32 blocks: 5.0 + 30 x 0.4 = 17.0 GiB

Peaks are kept for each part of the step, since the highest part at full depth need not be the highest at two blocks.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from torch import nn

from kinnari.models.quantized import is_quantized_parameter
from kinnari.models.spec import ModelSpec
from kinnari.planning.blueprint import Block, Blueprint, Making, Shapes, build, few_blocks, one_more, shapes_of, with_blocks
from kinnari.planning.fake_step import Step, run
from kinnari.planning.live_bytes import LiveBytes
from kinnari.planning.optimizer_state import optimizer_state
from kinnari.planning.packed_layers import scales_of
from kinnari.planning.request import Freezing
from kinnari.strategies.tuning import Tuning

Numbers = Counter[tuple[str, ...]]
_KEPT: dict[str, Traced] = {}
_MOST_KEPT = 256
SMALL_NUMBERS = 100_000
"""`stage3_param_persistence_threshold` of deepspeed 0.19."""


@dataclass(frozen=True)
class Sizes:
    """Parameters of a model, tied ones once; bytes as they are held.

    Attributes:
        parameters, trainable: numbers; packed ones count as what they stand for.
        frozen_bytes, trainable_bytes: of weights with their scales, and of what is trained.
        optimizer_bytes: state of the optimizer for what is trained.
        largest_block: bytes of the largest block, what is trained in it among them.
        blocks_bytes: of all blocks together.
        largest_trainable: numbers of the largest trained parameter.
        largest_parameter, largest_in_block: bytes of the largest parameter, and of the largest in a block.
        packed_bytes, scale_bytes: of `frozen_bytes`, numbers of few bits and what stands beside them.
        small_bytes: of parameters that ZeRO-3 keeps gathered, since they are small; without packed ones.
    """

    parameters: float
    trainable: float
    frozen_bytes: float
    trainable_bytes: float
    optimizer_bytes: float
    largest_block: float
    largest_block_trainable: float
    blocks_bytes: float
    largest_trainable: float
    largest_parameter: float
    largest_in_block: float
    packed_bytes: float
    scale_bytes: float
    small_bytes: float


@dataclass(frozen=True)
class Traced:
    """A step at full depth.

    Attributes:
        sizes: of the model.
        peaks: part of the step -> kind of `LiveBytes` -> bytes at its highest moment.
        flops: of all micro-batches that were traced.
        end: kind -> bytes that are left when the step is over.
    """

    sizes: Sizes
    peaks: Mapping[str, Mapping[str, float]]
    flops: float


def trace(spec: ModelSpec, tuning: Tuning | None, making: Making, step: Step, optimizer: str, freezing: Freezing | None = None) -> Traced:
    """`step` of the model at its full depth; the same question again is answered from memory.

    Args:
        tuning: None for a model that only computes.
        freezing: of task=reward.

    Raises:
        ConfigError: as `blueprint.shapes_of` and `tuning.apply_tuning`.
    """
    asked = [dataclasses.asdict(part) for part in (spec, tuning, making, step, freezing) if part is not None]
    key = json.dumps([asked, optimizer], default=str)
    if key not in _KEPT:
        while len(_KEPT) >= _MOST_KEPT:
            _KEPT.pop(next(iter(_KEPT)))
        _KEPT[key] = _traced(spec, tuning, making, step, optimizer, freezing)
    return _KEPT[key]


def sizes_of(spec: ModelSpec, tuning: Tuning | None, making: Making, optimizer: str, freezing: Freezing | None = None) -> Sizes:
    """Parameters and bytes of a model at its full depth, without a step; as `trace` otherwise."""
    shapes = shapes_of(spec, freezing)

    def numbers(blocks: Sequence[Block]) -> Numbers:
        return _sizes(build(spec, with_blocks(shapes, blocks), tuning, making, freezing), optimizer, making.optimized.itemsize)

    return _assembled(_at_full_depth(shapes, numbers)).sizes


def _traced(spec: ModelSpec, tuning: Tuning | None, making: Making, step: Step, optimizer: str, freezing: Freezing | None) -> Traced:
    shapes = shapes_of(spec, freezing)

    def numbers(blocks: Sequence[Block]) -> Numbers:
        made = with_blocks(shapes, blocks)
        blueprint = build(spec, made, tuning, making, freezing)
        critic = build(spec, made, tuning, making, freezing) if step.second_forward else None
        sizes = _sizes(blueprint, optimizer, making.optimized.itemsize)  # before the step, which makes the parameters fake
        return sizes + _of_step(run(blueprint, spec, step, critic))

    return _assembled(_at_full_depth(shapes, numbers))


def _at_full_depth(shapes: Shapes, numbers: Callable[[Sequence[Block]], Numbers]) -> Numbers:
    few = few_blocks(shapes)
    base, present = numbers(few), Counter(few)
    total = Numbers(base)
    for kind, count in shapes.counts.items():
        if count == present[kind]:
            continue
        more = numbers(one_more(few, kind))
        for name in base:
            if name[0] != "largest":
                total[name] += (count - present[kind]) * (more[name] - base[name])
    return total


def _assembled(total: Numbers) -> Traced:
    sizes = {field.name: float(total["size", field.name] or total["largest", field.name]) for field in dataclasses.fields(Sizes)}
    peaks: dict[str, dict[str, float]] = {}
    for name, value in total.items():
        if name[0] == "peak":
            peaks.setdefault(name[1], {})[name[2]] = max(0.0, float(value))
    flops = float(sum(value for name, value in total.items() if name[0] == "flops"))
    return Traced(Sizes(**sizes), peaks, flops)


def _of_step(live: LiveBytes) -> Numbers:
    found: Numbers = Counter()
    for part, peak in live.peaks.items():
        # of a third block in the middle only the operations count: its peaks lie between those of the first and the last
        found |= Counter({("peak", part, kind): value for kind, value in peak.items()}) if "middle" not in part else Counter()
    found[("flops",)] = sum(live.flops.values())
    return found


def _sizes(blueprint: Blueprint, optimizer: str, itemsize: int) -> Numbers:
    found: Numbers = Counter()
    for parameter in blueprint.model.parameters():
        trained = parameter.requires_grad
        count, held = _numbers(parameter), _bytes(parameter)
        found["size", "parameters"] += count
        found["size", "trainable"] += count if trained else 0
        found["size", "trainable_bytes" if trained else "frozen_bytes"] += held
        packed = parameter.numel() * parameter.element_size() if is_quantized_parameter(parameter) else 0
        found["size", "packed_bytes"] += packed
        found["size", "scale_bytes"] += held - packed if packed else 0
        found["size", "small_bytes"] += held if count < SMALL_NUMBERS and not packed else 0
        found["largest", "largest_parameter"] = max(found["largest", "largest_parameter"], held)
        if trained:
            found["size", "optimizer_bytes"] += optimizer_state(optimizer, tuple(parameter.shape), itemsize)
            found["largest", "largest_trainable"] = max(found["largest", "largest_trainable"], count)
    for block in blueprint.blocks.bottom_to_top:
        held = sum(_bytes(parameter) for parameter in block.parameters())
        trained = sum(_bytes(parameter) for parameter in block.parameters() if parameter.requires_grad)
        found["size", "blocks_bytes"] += held
        found["largest", "largest_in_block"] = max(found["largest", "largest_in_block"], *map(_bytes, block.parameters()))
        found["largest", "largest_block"] = max(found["largest", "largest_block"], held)
        found["largest", "largest_block_trainable"] = max(found["largest", "largest_block_trainable"], trained)
    return found


def _numbers(parameter: nn.Parameter) -> int:
    if type(parameter).__name__ == "Params4bit":
        return int(cast("Any", parameter).quant_state.shape.numel())
    return parameter.numel()


def _bytes(parameter: nn.Parameter) -> int:
    held = parameter.numel() * parameter.element_size()
    if not is_quantized_parameter(parameter):
        return held
    state = cast("Any", parameter).quant_state if type(parameter).__name__ == "Params4bit" else None
    if state is None:
        return held + 4 * parameter.shape[0]
    return held + sum(scale.numel() * scale.element_size() for scale in scales_of(state))
