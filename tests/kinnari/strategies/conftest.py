"""The strategy matrix is trained once, in one pair of rank processes, and read by several test files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.distributed import run_ranks
from tests.kinnari.strategies.toy import train

SHARED = ("ddp", "fsdp", "deepspeed_zero1", "deepspeed_zero2", "deepspeed_zero3")
TUNINGS: dict[str, dict[str, Any]] = {
    "full": {"clip": 1.2},  # some of the steps have a larger norm, some a smaller one
    "lora": {"tuning": "lora", "clip": 0.025},
    "qlora": {"tuning": "qlora"},
}


@pytest.fixture(scope="session")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="session")
def single(one_thread: None, checkpoints: Path) -> dict[str, dict[str, Any]]:
    """Tuning -> the run of one process, with a checkpoint at step 3."""
    return {tuning: train("single", save=checkpoints / f"single-{tuning}.ckpt", **options) for tuning, options in TUNINGS.items()}


@pytest.fixture(scope="session")
def two_ranks(single: dict[str, Any], checkpoints: Path) -> dict[tuple[str, str, str], dict[str, Any]]:
    """(strategy, tuning, "run" | "resumed from single") -> what rank 0 measured."""
    return run_ranks(_train_matrix, 2, checkpoints, timeout_s=300)[0]


def _train_matrix(folder: Path) -> dict[tuple[str, str, str], dict[str, Any]]:
    rank = int(os.environ["RANK"])
    results = {}
    for name in SHARED:
        for tuning, options in TUNINGS.items():
            saved, resumed = folder / f"{name}-{tuning}.ckpt", folder / f"single-{tuning}.ckpt"
            results[name, tuning, "run"] = train(name, 2, rank, save=saved, **options)
            results[name, tuning, "resumed from single"] = train(name, 2, rank, resume=resumed, **options)
    return results
