"""QLoRA and LLM.int8 train the same curve on one process and on two ranks, under every strategy that can hold such weights.

NF4 weights are constants, so qlora follows the float32 tolerance of contract 1. LLM.int8 also rounds activations to 8 bits, row by
row: equal sums in another order round differently, and 1e-2 is what that noise is allowed to do to a loss.
"""

import pytest

from tests.distributed import run_ranks
from tests.end_to_end.curves import curves

RELATIVE = {"qlora": 1e-4, "lora_int8": 1e-2}
RUNS = [
    ("qlora", "ddp"),
    ("qlora", "fsdp"),
    ("qlora", "deepspeed_zero2"),
    ("qlora", "deepspeed_zero3"),
    ("lora_int8", "ddp"),
    ("lora_int8", "deepspeed_zero2"),
]


@pytest.mark.slow
def test_two_ranks_follow_the_curve_of_one_process_on_a_quantised_base():
    single = dict(zip(RELATIVE, curves([(f"strategy/tuning={tuning}", "batch.micro_size=8") for tuning in RELATIVE]), strict=True))
    runs = [(f"strategy/tuning={tuning}", f"strategy/parallel={parallel}", "hw=cpux2", "batch.micro_size=2") for tuning, parallel in RUNS]

    first, second = run_ranks(curves, 2, runs, timeout_s=600)

    assert first == second
    for (tuning, parallel), curve in zip(RUNS, first, strict=True):
        worst = max(abs(a - b) / b for a, b in zip(curve, single[tuning], strict=True))
        assert worst < RELATIVE[tuning], (tuning, parallel, worst)
