"""Every tuning of an encoder-decoder under every strategy trains the curve of one process: one pair of ranks for all of them."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch

from tests.distributed import run_ranks
from tests.lightning_modules.seq2seq_toy import train

CASES = [
    (strategy, tuning)
    for tuning in ("full", "lora", "qlora", "lora_int8")
    for strategy in ("ddp", "fsdp", "deepspeed_zero3")
    if not (tuning == "lora_int8" and strategy != "ddp")  # 8-bit weights are not sharded: refused
]
OVERFLOWING = {"precision": "16-mixed", "growth": 1e5}  # weights that float16 holds, sums that it does not


def train_all() -> dict[tuple[str, str], dict[str, Any]]:
    rank = int(os.environ["RANK"])
    runs = {(strategy, tuning): train(strategy, tuning, 2, rank) for strategy, tuning in CASES}
    return runs | {(strategy, "float16"): train(strategy, "full", 2, rank, **OVERFLOWING) for strategy in ("ddp", "fsdp")}


@pytest.fixture(scope="module")
def two_ranks() -> dict[tuple[str, str], dict[str, Any]]:
    return run_ranks(train_all, 2, timeout_s=300)[0]


@pytest.fixture(scope="module")
def one_process() -> dict[str, dict[str, Any]]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    runs = {tuning: train("single", tuning) for tuning in ("full", "lora", "qlora", "lora_int8")}
    runs |= {"float16": train("single", "full", growth=OVERFLOWING["growth"])}  # in float32
    torch.set_num_threads(before)
    return runs


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "tuning"), CASES)
def test_two_ranks_train_as_one_process(strategy: str, tuning: str, one_process: dict, two_ranks: dict) -> None:
    found, expected = two_ranks[strategy, tuning], one_process[tuning]
    # LLM.int8 rounds each activation to 8 bits by its row; the rows are the same, the padding around them is not
    tolerance = 1e-6 if tuning != "lora_int8" else 1e-3
    assert found["losses"] == pytest.approx(expected["losses"], rel=tolerance)
    assert found["norms"] == pytest.approx(expected["norms"], rel=10 * tolerance)
    assert found["weights"].keys() == expected["weights"].keys()
    for name, weight in found["weights"].items():
        torch.testing.assert_close(weight, expected["weights"][name], rtol=1e-3, atol=2e-5 if tuning != "lora_int8" else 3e-3)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_float16_does_not_overflow_where_weights_are_split_or_copied(strategy: str, one_process: dict, two_ranks: dict) -> None:
    assert two_ranks[strategy, "float16"]["losses"] == pytest.approx(one_process["float16"]["losses"], rel=1e-2)
