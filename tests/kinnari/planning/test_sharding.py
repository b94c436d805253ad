"""What a device holds under each strategy: by hand, and against DeepSpeed's own estimators."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kinnari.planning import sharding
from kinnari.planning.estimate import estimate, making
from kinnari.planning.request import GIB, Parallel
from kinnari.planning.sharding import held
from kinnari.planning.trace import Sizes, sizes_of
from kinnari.strategies.buckets import ZERO_AHEAD_NUMBERS, ZERO_BUCKET_NUMBERS
from kinnari.strategies.deepspeed import zero_config
from kinnari.strategies.tuning import Tuning
from tests.kinnari.planning.specs import A100, request

RANKS = 4
MODEL = 100_000_000  # numbers, of which 80 million in 10 equal blocks


def sizes(itemsize: int, trained: float = MODEL) -> Sizes:
    return Sizes(parameters=MODEL, trainable=trained, frozen_bytes=itemsize * (MODEL - trained), trainable_bytes=itemsize * trained,
                 optimizer_bytes=8 * trained, largest_block=itemsize * 8e6, largest_block_trainable=itemsize * 8e6 * trained / MODEL,
                 blocks_bytes=itemsize * 8e7, largest_trainable=1e6, largest_parameter=itemsize * 1e6, largest_in_block=itemsize * 1e5,
                 packed_bytes=0.0, scale_bytes=0.0, small_bytes=0.0)  # fmt: skip


def asked(name: str, **options):
    return request(
        tuning=Tuning(name="full"), parallel=Parallel(name, **options), hardware=replace(A100, devices=RANKS), precision="bf16-mixed"
    )


def test_fsdp_shards_everything_and_gathers_the_root_and_two_blocks():
    kept = held(asked("fsdp"), sizes(2), lora=False)
    assert (kept.weights, kept.gradients, kept.optimizer) == (4 * MODEL / RANKS, 4 * MODEL / RANKS, 8 * MODEL / RANKS)
    assert kept.gathered["block backward"] == 2 * 2e7 + 2 * 2 * 8e6
    assert kept.communication["last"] == 2e7 * (2 + 4), "the root's gradients, and their float32 sums"
    assert kept.share == 4 / 2 / RANKS, "as they come, in float32"


def test_a_frozen_base_is_sharded_in_its_own_dtype_and_adapters_in_float32():
    kept = held(asked("fsdp"), sizes(2, trained=1_000_000), lora=True)
    assert (kept.weights, kept.adapters, kept.optimizer) == (2 * 99e6 / RANKS, 4 * 1e6 / RANKS, 8 * 1e6 / RANKS)


@pytest.mark.parametrize("stage", [2, 3])
def test_model_states_are_those_of_deepspeeds_own_estimators(stage):
    """At the optimizer's step, without buckets and gathered layers.

    Theirs counts 18 bytes a number (deepspeed 0.19; of stage 2 beside the whole 16-bit weights). Measured are 20 and 22, as planned: the
    16-bit gradients lie there twice before the optimizer steps, as they came and flat, and of stage 3 theirs leaves them out altogether.
    """
    from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs
    from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs

    kept = held(asked(f"deepspeed_zero{stage}"), sizes(2), lora=False)
    ours = kept.weights + kept.masters + kept.gradients + kept.optimizer + kept.step
    if stage == 2:
        theirs = estimate_zero2_model_states_mem_needs(MODEL, RANKS, 1, cpu_offload=False)[1] + 2 * MODEL / RANKS
    else:
        _, whole, layer = estimate_zero3_model_states_mem_needs(MODEL, 1_000_000, RANKS, 1, cpu_offload=False, cpu_offload_params=False)
        theirs = whole - layer + 4 * MODEL / RANKS
    assert ours == theirs


@pytest.mark.parametrize("stage", [2, 3])
def test_offloading_leaves_what_deepspeeds_own_estimators_leave(stage):
    from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs
    from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs

    kept = held(asked(f"deepspeed_zero{stage}", offload_optimizer=True, offload_parameters=stage == 3), sizes(2), lora=False)
    ours = kept.weights + kept.masters + kept.gradients + kept.optimizer + kept.step
    if stage == 2:
        assert ours == estimate_zero2_model_states_mem_needs(MODEL, RANKS, 1, cpu_offload=True)[1]
    else:
        _, whole, layer = estimate_zero3_model_states_mem_needs(MODEL, 1_000_000, RANKS, 1, cpu_offload=True, cpu_offload_params=True)
        assert ours == whole - layer == 0
    assert kept.host >= 16 * MODEL / RANKS


def test_stage_1_keeps_whole_gradients_while_it_accumulates():
    once, often = (held(asked("deepspeed_zero1"), sizes(2), lora=False, accumulates=more) for more in (False, True))
    assert (once.weights, once.masters, once.share) == (2 * MODEL, 4 * MODEL / RANKS, 1 / RANKS)
    assert often.share == 1


def test_scales_of_packed_weights_are_on_every_rank_and_stage_3_keeps_gathered_packed_weights(monkeypatch):
    packed = replace(sizes(2, trained=1e6), packed_bytes=1e8, scale_bytes=4e6)
    for name in ("fsdp", "deepspeed_zero3"):
        assert held(asked(name), packed, lora=True).weights == (2 * 99e6 - 4e6) / RANKS + 4e6
    monkeypatch.setattr(sharding, "ZERO_AHEAD_NUMBERS", 300_000)
    ahead = 2 * 300_000 + 2e5  # bytes, up to the last layer that is gathered ahead
    assert held(asked("deepspeed_zero3"), packed, lora=True).gathered["block"] == ahead + 1e8
    assert held(asked("deepspeed_zero3"), packed, lora=True).gathered["head"] == 2e6 + 1e8, "so large a head leaves no room"


def test_stage_3_gathers_ahead_no_more_than_there_is_and_keeps_small_parameters():
    shapes = replace(sizes(2), small_bytes=3e5)
    gathered = held(asked("deepspeed_zero3"), shapes, lora=False).gathered
    assert gathered["block"] == min(2 * ZERO_AHEAD_NUMBERS + 2e5, 2 * MODEL - 3e5) + 3e5 == 2 * MODEL


def test_buckets_are_as_large_as_the_strategy_makes_them():
    for stage in (2, 3):
        assert zero_config(stage, None)["zero_optimization"]["reduce_bucket_size"] == ZERO_BUCKET_NUMBERS
    assert zero_config(3, None)["zero_optimization"]["stage3_max_live_parameters"] == ZERO_AHEAD_NUMBERS
    assert zero_config(3, None)["zero_optimization"]["stage3_max_reuse_distance"] == 0, "nothing stays from the forward to the backward"


def test_every_strategy_can_be_planned_and_sharding_more_holds_less():
    peaks = {}
    for name in ("ddp", "deepspeed_zero1", "deepspeed_zero2", "deepspeed_zero3", "fsdp"):
        run = request("llama7b", parallel=Parallel(name), hardware=replace(A100, devices=8), precision="bf16-mixed", global_size=32)
        peaks[name] = estimate(run).peak_memory_gib
    assert peaks["ddp"] > peaks["deepspeed_zero1"] > peaks["deepspeed_zero2"] > peaks["deepspeed_zero3"]
    assert peaks["fsdp"] < peaks["deepspeed_zero2"]


def test_a_paged_optimizer_takes_what_room_there_is():
    tight = request("llama7b", tuning=Tuning(name="full", gradient_checkpointing=True), hardware=replace(A100, memory_gib=60),
                    precision="bf16-mixed", optimizer="paged_adamw")  # fmt: skip
    told = estimate(tight)
    state = sizes_of(tight.spec, tight.tuning, making(tight), "paged_adamw").optimizer_bytes / GIB
    assert told.peak_memory_gib <= 60 + 1e-9
    assert told.memory_gib.get("optimizer", 0.0) + told.host_gib == pytest.approx(state)


def test_the_sharded_strategies_are_told_apart_from_the_whole_ones():
    assert set(sharding.SHARDED) == {"fsdp", "deepspeed_zero1", "deepspeed_zero2", "deepspeed_zero3"}
