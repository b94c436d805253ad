"""Moments of parts put together against the moments of everything."""

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinnari.functional.running_moments import Moments, RunningMoments, merged, moments_of

NUMBERS = st.lists(st.floats(-1e3, 1e3, allow_nan=False), max_size=12)


def test_hand_worked_numbers():
    # 1, 2, 3, 6: mean 3, squared deviations 4 + 1 + 0 + 9
    found = moments_of(torch.tensor([[1.0, 2.0, 99.0], [3.0, 6.0, math.nan]]), torch.tensor([[1, 1, 0], [1, 1, 0]]))
    assert tuple(map(float, found)) == (4.0, 3.0, 14.0) and float(found.variance) == 3.5


@settings(max_examples=60, deadline=None)
@given(parts=st.lists(NUMBERS, min_size=1, max_size=5))
def test_parts_in_any_split_merge_to_the_whole(parts):
    everything = [number for part in parts for number in part]
    found = moments_of(torch.zeros(0))
    running = RunningMoments()
    for part in parts:
        one = moments_of(torch.tensor(part, dtype=torch.float64))
        found = merged(found, one)
        running.update(one)
    mean = sum(everything) / len(everything) if everything else 0.0
    squares = sum((number - mean) ** 2 for number in everything)
    assert float(found.n) == running.count == len(everything)
    assert float(found.mean) == pytest.approx(mean, abs=1e-9) == running.mean
    assert float(found.m2) == pytest.approx(squares, abs=1e-6)
    if len(everything) > 1:
        assert running.std == pytest.approx(math.sqrt(squares / len(everything)), abs=1e-6)


def test_a_large_mean_does_not_eat_the_variance():
    # in float32, and as a difference of sums of squares, this variance would be lost
    far = torch.tensor([1e6, 1e6 + 1, 1e6 + 2], dtype=torch.float64)
    assert float(merged(moments_of(far[:1]), moments_of(far[1:])).variance) == pytest.approx(2 / 3)


def test_nothing_and_one_number_scale_by_one():
    running = RunningMoments()
    assert (running.count, running.mean, running.std) == (0, 0.0, 1.0)
    running.update(moments_of(torch.zeros(3), torch.zeros(3)))
    assert running.count == 0 and running.std == 1.0
    running.update(moments_of(torch.tensor([5.0])))
    assert (running.count, running.mean, running.std) == (1, 5.0, 1.0)


def test_state_through_json_goes_on_with_the_same_bits():
    one = RunningMoments()
    one.update(moments_of(torch.tensor([0.1, 0.7, -3.3])))
    other = RunningMoments()
    other.load_state_dict(json.loads(json.dumps(one.state_dict())))
    for running in (one, other):
        running.update(moments_of(torch.tensor([1 / 3])))
    assert one.state_dict() == other.state_dict()


def test_ranks_may_exchange_them_as_one_tensor():
    found = moments_of(torch.tensor([1.0, 2.0]))
    assert torch.equal(torch.stack(Moments(*torch.stack(found))), torch.tensor([2.0, 1.5, 0.5], dtype=torch.float64))
