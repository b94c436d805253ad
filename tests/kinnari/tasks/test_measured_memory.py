"""Components of real steps: each storage once, adapters told apart, sharded runs left to the process."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kinnari.strategies.throughput import GIB
from kinnari.tasks.measured_memory import _gib, _held


def test_tied_weights_are_held_once_and_adapters_apart():
    module = nn.Module()
    module.embedding = nn.Embedding(10, 4)
    module.head = nn.Linear(4, 10, bias=False)
    module.head.weight = module.embedding.weight
    module.lora_A = nn.Linear(4, 2, bias=False, dtype=torch.float16)
    module.register_buffer("positions", torch.zeros(3, dtype=torch.int64))
    # 40 float32 numbers and 3 of 8 bytes; 8 numbers of 2 bytes
    assert {name: gib * GIB for name, gib in _held(module).items()} == pytest.approx({"weights": 184, "adapters": 16})


def test_state_is_counted_in_its_own_dtype():
    assert _gib([torch.zeros(4), torch.zeros(8, dtype=torch.uint8)]) * GIB == pytest.approx(24)
