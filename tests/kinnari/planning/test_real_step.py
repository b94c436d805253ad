"""Plans against the bytes of live tensors in real steps under the trainer, one kind of run each; docs/planning.md has the whole grid."""

from __future__ import annotations

import statistics
from functools import cache

import pytest

from kinnari.planning.estimate import estimate
from kinnari.planning.request import GIB
from tests.kinnari.planning.real_step import GRID, measured_bytes

IN_EVERY_RUN = (
    "full recomputed",
    "full vocabulary, whole logits",
    "lora bf16",
    "qlora recomputed",
    "int8",
    "packed",
    "seq2seq lora",
    "reward, frozen blocks recomputed",
    "reward, prompts shared",
    "ppo, separate critic",
    "ppo, prompts shared",
)


@cache
def error(name: str) -> float:
    case = GRID[name]
    return estimate(case.request).peak_memory_gib * GIB / measured_bytes(case) - 1


@pytest.mark.parametrize("name", IN_EVERY_RUN)
def test_the_planned_peak_is_that_of_the_real_run(name):
    assert abs(error(name)) <= 0.03


def test_the_median_error_is_below_one_percent():
    assert statistics.median(abs(error(name)) for name in IN_EVERY_RUN) < 0.01
