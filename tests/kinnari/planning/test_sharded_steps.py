"""Plans against the bytes of live tensors on two ranks under every sharding strategy; docs/planning.md has the whole grid."""

from __future__ import annotations

import pytest

from kinnari.planning import sharding
from kinnari.planning.estimate import estimate
from kinnari.planning.request import GIB
from tests.distributed import run_ranks
from tests.kinnari.planning.real_step import AHEAD_NUMBERS, BUCKET_NUMBERS, SHARDED_GRID, measured_on_ranks

IN_EVERY_RUN = (
    "fsdp full bf16-mixed short",
    "fsdp lora 32-true",
    "deepspeed_zero1 full bf16-mixed accumulated",
    "deepspeed_zero2 full bf16-mixed short",
    "deepspeed_zero3 lora bf16-mixed short",
    "deepspeed_zero3 qlora bf16-mixed accumulated",
)


@pytest.fixture(scope="module")
def measured() -> dict[str, int]:
    ranks = run_ranks(measured_on_ranks, 2, IN_EVERY_RUN)
    return {name: max(rank[name] for rank in ranks) for name in IN_EVERY_RUN}


@pytest.mark.parametrize("name", IN_EVERY_RUN)
def test_the_planned_peak_of_a_rank_is_the_measured_one(name, measured, monkeypatch):
    monkeypatch.setattr(sharding, "ZERO_BUCKET_NUMBERS", BUCKET_NUMBERS)
    monkeypatch.setattr(sharding, "ZERO_AHEAD_NUMBERS", AHEAD_NUMBERS)
    planned = estimate(SHARDED_GRID[name].request).peak_memory_gib * GIB
    assert planned == pytest.approx(measured[name], rel=0.03)
