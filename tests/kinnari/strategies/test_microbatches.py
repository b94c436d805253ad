"""Gradients of one step: summed once, measured and clipped as one vector, whatever holds the pieces."""

from __future__ import annotations

import math
import os
from datetime import timedelta

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from torch.nn import Parameter

from kinnari.errors import ConfigError
from kinnari.strategies.ddp import SingleProcess
from kinnari.strategies.microbatches import (
    _buckets,
    agree_max,
    all_reduce_gradients,
    clip_gradients,
    gradient_norm,
    loss_factor,
    micro_batch_sync,
    sum_gradients,
    sum_over_ranks,
)
from tests.distributed import run_ranks


def _with_gradient(*values: float) -> Parameter:
    parameter = Parameter(torch.zeros(len(values)))
    parameter.grad = torch.tensor(values)
    return parameter


def test_the_norm_is_that_of_all_gradients_together() -> None:
    # sqrt(1 + 4 + 4) over two parameters, one without gradient beside them
    assert gradient_norm([_with_gradient(1.0, 2.0), _with_gradient(-2.0), Parameter(torch.zeros(3))]) == 3.0
    assert gradient_norm([]) == 0.0


def test_clipping_scales_to_the_wanted_norm_and_returns_the_old_one() -> None:
    parameters = [_with_gradient(3.0), _with_gradient(0.0, 4.0)]
    assert clip_gradients(SingleProcess(), parameters, 1.0) == 5.0
    assert parameters[0].grad.tolist() == pytest.approx([0.6], rel=1e-5)
    assert parameters[1].grad.tolist() == pytest.approx([0.0, 0.8], rel=1e-5)


@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=6), st.floats(0.1, 10.0))
def test_clipping_equals_torchs_own(values: list[float], max_norm: float) -> None:
    ours, theirs = _with_gradient(*values), _with_gradient(*values)
    norm = clip_gradients(SingleProcess(), [ours], max_norm)
    assert norm == pytest.approx(float(torch.nn.utils.clip_grad_norm_([theirs], max_norm)), rel=1e-5, abs=1e-30)
    assert torch.allclose(ours.grad, theirs.grad, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_a_norm_that_is_not_finite_leaves_gradients_alone(bad: float) -> None:
    parameter = _with_gradient(1.0, bad)
    assert not math.isfinite(clip_gradients(SingleProcess(), [parameter], 1.0))
    assert parameter.grad[0] == 1.0


def test_without_a_limit_the_norm_is_only_measured() -> None:
    parameter = _with_gradient(30.0, 40.0)
    assert clip_gradients(SingleProcess(), [parameter], None) == 50.0
    assert parameter.grad.tolist() == [30.0, 40.0]


def test_a_plain_trainer_on_one_device_follows_the_rules_of_one_process() -> None:
    strategy = SingleDeviceStrategy("cpu")
    assert loss_factor(strategy) == 1.0
    with micro_batch_sync(strategy, is_last=True):
        sum_gradients(strategy, [_with_gradient(1.0)])
    assert clip_gradients(strategy, [_with_gradient(3.0, 4.0)], 1.0) == 5.0
    assert agree_max(strategy, 2.5) == 2.5
    assert sum_over_ranks(strategy, torch.tensor([1, 2])).tolist() == [1.0, 2.0]


def test_a_strategy_whose_reduction_is_unknown_is_refused() -> None:
    with pytest.raises(ConfigError, match="sums or averages"):
        loss_factor(DDPStrategy())


@given(st.lists(st.tuples(st.integers(1, 9), st.sampled_from([torch.float32, torch.bfloat16])), max_size=12), st.integers(1, 40))
def test_buckets_hold_every_gradient_once_in_order_of_its_dtype(sizes: list, limit: int) -> None:
    gradients = [torch.full((size,), float(number), dtype=dtype) for number, (size, dtype) in enumerate(sizes)]
    buckets = _buckets(gradients, limit)
    for dtype in (torch.float32, torch.bfloat16):
        flat = [float(one[0]) for bucket in buckets for one in bucket if one.dtype == dtype]
        assert flat == [float(number) for number, (_, found) in enumerate(sizes) if found == dtype]
    for bucket in buckets:
        assert len({one.dtype for one in bucket}) == 1
        assert len(bucket) == 1 or sum(one.numel() * one.element_size() for one in bucket) <= limit


def _reduce() -> dict[str, object]:
    torch.distributed.init_process_group("gloo", timeout=timedelta(seconds=60))
    rank = int(os.environ["RANK"])
    both, second_only, neither = (Parameter(torch.zeros(2)) for _ in range(3))
    half = Parameter(torch.zeros(2, dtype=torch.bfloat16))
    both.grad = torch.tensor([1.0, 10.0]) * (rank + 1)
    half.grad = torch.tensor([1.0, 2.0], dtype=torch.bfloat16)
    if rank == 1:
        second_only.grad = torch.tensor([5.0, 6.0])
    all_reduce_gradients([both, second_only, neither, half], bucket_bytes=8)
    return {
        "both": both.grad.tolist(),
        "second_only": second_only.grad.tolist(),
        "neither": neither.grad,
        "half": half.grad.tolist(),
        "max": agree_max(SingleProcess(), float(rank)),
        "sum": sum_over_ranks(SingleProcess(), torch.tensor([1.5, rank])).tolist(),
    }


@pytest.mark.slow
def test_two_ranks_sum_gradients_and_agree() -> None:
    expected = {
        "both": [3.0, 30.0],
        "second_only": [5.0, 6.0],
        "neither": None,
        "half": [2.0, 4.0],
        "max": 1.0,
        "sum": [3.0, 1.0],
    }
    assert run_ranks(_reduce, 2, timeout_s=60) == [expected, expected]
