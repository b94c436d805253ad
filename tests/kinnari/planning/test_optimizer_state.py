"""Bytes of optimizer state against what the optimizers really keep."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kinnari.planning.optimizer_state import optimizer_state
from kinnari.planning.request import OPTIMIZERS
from kinnari.strategies import optimizers


def kept(name: str, parameter: nn.Parameter) -> int:
    """Bytes of state tensors after a step that belong to the parameter (tables of codes and step counters do not)."""
    optimizer = optimizers.build_optimizer([parameter], name=name, lr=1e-3)
    parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    state = {k: v for k, v in optimizer.state[parameter].items() if isinstance(v, torch.Tensor) and k not in ("step", "qmap1", "qmap2")}
    return sum(v.numel() * v.element_size() for v in state.values())


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("shape", [(64, 96), (16, 16), (500,)])
def test_the_state_is_what_the_optimizer_keeps(name, shape):
    assert optimizer_state(name, shape) == kept(name, nn.Parameter(torch.randn(shape)))


def test_adamw_keeps_its_state_in_the_dtype_of_a_16_bit_parameter():
    parameter = nn.Parameter(torch.randn(64, 96, dtype=torch.bfloat16))
    assert optimizer_state("adamw", (64, 96), itemsize=2) == kept("adamw", parameter) == 4 * 64 * 96


def test_every_optimizer_that_can_be_built_can_be_planned():
    assert set(OPTIMIZERS) == set(optimizers._BUILDERS)
