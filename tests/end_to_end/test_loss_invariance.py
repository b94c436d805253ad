"""Contract 1: the loss curve does not depend on how a global batch is laid out.

Loss at optimizer steps 1..8 for tuning {full, lora} x parallel {single, ddp, fsdp, zero2, zero3} x splits into micro-batches x
{none, length_grouped (one process), packed} x {chunked, plain} loss, each against one process that sees the whole global batch in one
unpacked micro-batch with transformers-style full logits. Float32, relative tolerance 1e-4.
"""

import itertools

import pytest

from tests.distributed import run_ranks
from tests.end_to_end.curves import curves

TUNINGS = ("full", "lora")
PACKINGS = ("none", "length_grouped", "packed")
LOSSES = ("true", "false")
MICRO_SIZES = (1, 4)
PARALLELS = ("ddp", "fsdp", "deepspeed_zero2", "deepspeed_zero3")
REFERENCE = ("batch.micro_size=8", "packing=none", "model.chunked_loss=false")
RELATIVE = 1e-4


def layout(tuning, micro, packing, chunked):
    return (f"strategy={tuning}", f"batch.micro_size={micro}", f"packing={packing}", f"model.chunked_loss={chunked}")


LAYOUTS = [layout(*choice) for choice in itertools.product(TUNINGS, MICRO_SIZES, PACKINGS, LOSSES)]
# Length grouping only sorts the rows of a step: that it does so alike for two ranks is shown in tests/kinnari/text/test_plan.py.
LAYOUTS_ON_TWO = [layout(*choice) for choice in itertools.product(TUNINGS, MICRO_SIZES, ("none", "packed"), LOSSES)]


@pytest.fixture(scope="module")
def references():
    made = curves([(f"strategy={tuning}", *REFERENCE) for tuning in TUNINGS])
    return dict(zip(TUNINGS, made, strict=True))


def assert_equal_curves(found, layouts, references):
    wrong = {}
    for overrides, curve in zip(layouts, found, strict=True):
        expected = references[overrides[0].removeprefix("strategy=")]
        assert len(curve) == 8
        worst = max(abs(a - b) / b for a, b in zip(curve, expected, strict=True))
        if worst > RELATIVE:
            wrong[overrides] = (worst, curve, expected)
    assert not wrong


def test_the_reference_learns(references):
    for curve in references.values():
        assert len(set(curve)) == 8 and curve[-1] < curve[0]


@pytest.mark.slow
def test_one_process_has_one_curve_for_every_layout(references):
    assert_equal_curves(curves(LAYOUTS), LAYOUTS, references)


@pytest.mark.slow
@pytest.mark.parametrize("parallel", PARALLELS)
def test_two_ranks_follow_the_curve_of_one_process(parallel, references):
    runs = [(*overrides, f"strategy/parallel={parallel}", "hw=cpux2") for overrides in LAYOUTS_ON_TWO]

    first, second = run_ranks(curves, 2, runs, timeout_s=600)

    assert first == second
    assert_equal_curves(first, LAYOUTS_ON_TWO, references)
