"""Seconds of steps that can be divided by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kinnari.planning import seconds
from kinnari.planning.estimate import estimate
from kinnari.planning.request import Parallel, RowTokens
from kinnari.strategies.tuning import Tuning
from tests.kinnari.planning.specs import A100, V100, request
from tests.kinnari.planning.test_sharding import MODEL, sizes


def test_the_slower_of_operations_and_bytes_decides():
    assert seconds.computing(A100, 312e12 * seconds.AMPERE_EFFICIENCY, 0.0) == pytest.approx(1.0)
    assert seconds.computing(A100, 1.0, 2 * 2039e9) == pytest.approx(2.0)
    assert seconds.computing(replace(A100, peak_tflops=None), 1.0, 1.0) is None


def test_one_token_of_an_answer_reads_all_weights_and_half_the_final_cache():
    fast = replace(A100, accelerator="cpu")
    took = seconds.answering(fast, held_bytes=2039e9, cache_bytes=2039e9, blocks=1, tokens=4, prefill_flops=0.0)
    assert took == pytest.approx(1.0 + 4 * 1.5 / seconds.BANDWIDTH_EFFICIENCY)


def test_a_small_model_waits_for_python_while_answering():
    took = seconds.answering(A100, held_bytes=1e6, cache_bytes=0.0, blocks=32, tokens=100, prefill_flops=0.0)
    assert took == pytest.approx(3.9, rel=0.01), "25.5 tokens a second, as gpt-fast has it for 32 blocks without compilation"


@pytest.mark.parametrize(("name", "hidden", "waited"), [
    ("single", 0.0, 0.0),
    ("ddp", 0.0, 2 * 0.75 * 2 * MODEL),
    ("fsdp", 3 * 0.75 * (2 * 2 * MODEL + 4 * MODEL), 0.0),
    ("deepspeed_zero1", 0.0, 0.75 * 3 * 2 * MODEL),
    ("deepspeed_zero2", 0.0, 0.75 * (3 + 1) * 2 * MODEL),
    ("deepspeed_zero3", 3 * 0.75 * 3 * 2 * MODEL, 0.0),
])  # fmt: skip
def test_bytes_on_the_wire_by_hand(name, hidden, waited):
    """Four ranks, three micro-batches, 16 bits."""
    hardware = replace(A100, devices=1 if name == "single" else 4)
    asked = request(tuning=Tuning(name="full"), parallel=Parallel(name), hardware=hardware, precision="bf16-true")
    sent = seconds.communication(asked, sizes(2), 3)
    assert (sent.hidden, sent.waited) == pytest.approx((hidden, waited))


def test_between_nodes_the_network_is_the_narrow_place():
    inside = replace(A100, devices=8, interconnect_gb_s=300)
    assert seconds.link_bytes_s(inside) == 300e9 * seconds.LINK_EFFICIENCY
    assert seconds.link_bytes_s(replace(inside, nodes=2)) == 12.5e9 / 8
    assert seconds.link_bytes_s(replace(A100, devices=2)) == seconds.PCIE_GB_S * 1e9 * seconds.LINK_EFFICIENCY


def test_offloading_waits_for_the_processors_and_for_the_link_to_the_host():
    """Four ranks, 16 bits: gradients down and weights up, 2 + 2 bytes a number; stage 3's weights twice for each of 3 micro-batches."""
    hardware = replace(A100, devices=4, host_gb_s=31.5)
    optimizer, both = Parallel("deepspeed_zero2", offload_optimizer=True), Parallel("deepspeed_zero3", True, True)
    on_device, offloaded, all_offloaded = (
        seconds.stepping(request(tuning=Tuning(name="full"), parallel=parallel, hardware=hardware, precision="bf16-mixed"), sizes(2), 3)
        for parallel in (Parallel("deepspeed_zero2"), optimizer, both)
    )
    link = 31.5e9 * seconds.LINK_EFFICIENCY
    assert on_device == pytest.approx((8 + 16 + 4) * MODEL / 4 / 2039e9)
    assert offloaded == pytest.approx(seconds.HOST_ADAM_S * MODEL + 4 * MODEL / 4 / link)
    assert all_offloaded - offloaded == pytest.approx(2 * 3 * 2 * MODEL / 4 / link)


def test_an_epoch_is_its_records_in_steps():
    rows = RowTokens(width=512, mean=300.0, records=6400)
    asked = request("xglm564m", tuning=Tuning(name="lora"), hardware=V100, precision="16-mixed", rows=rows, micro_size=4, global_size=64)
    told = estimate(asked)
    assert told.seconds_per_step is not None
    assert told.hours_per_epoch == pytest.approx(told.seconds_per_step * 100 / 3600)
    assert told.tokens_per_step == 64 * 300


def test_shorter_records_cost_less_time_and_as_much_memory():
    asked = request("xglm564m", tuning=Tuning(name="lora"), hardware=V100, precision="16-mixed", rows=RowTokens(width=512, mean=512.0))
    short = replace(asked, rows=replace(asked.rows, mean=256.0))
    assert estimate(short).flops_per_step == pytest.approx(estimate(asked).flops_per_step / 2)
    assert estimate(short).peak_memory_gib == estimate(asked).peak_memory_gib


def test_without_a_peak_no_time_is_told():
    assert estimate(request()).seconds_per_step is None
