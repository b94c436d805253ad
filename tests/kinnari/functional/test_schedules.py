"""The schedules against the libraries whose recipes people copy, and against hand-worked numbers."""

import math
import warnings

import pytest
import torch
import transformers.optimization as theirs
from hypothesis import given
from hypothesis import strategies as st

from kinnari.functional import schedules

RUNS = [(10, 0), (10, 1), (10, 3), (100, 7), (1, 0), (5, 5)]


def factors(schedule, total, **settings):
    return [schedule(step, total_steps=total, **settings) for step in range(total)]


def of_library(build, total):
    """Learning rates of a library's scheduler over a run, for a peak of 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch wants optimizer.step() before it
        scheduler = build(optimizer)
        rates = [optimizer.param_groups[0]["lr"]]
        for _ in range(total - 1):
            scheduler.step()
            rates.append(optimizer.param_groups[0]["lr"])
    return rates


@pytest.mark.parametrize(("total", "warmup"), RUNS)
class TestAgainstLibraries:
    def test_cosine_is_hugging_faces(self, total, warmup):
        expected = of_library(lambda o: theirs.get_cosine_schedule_with_warmup(o, warmup, total), total)
        assert factors(schedules.cosine, total, warmup_steps=warmup) == pytest.approx(expected)

    def test_cosine_with_floor_is_hugging_faces(self, total, warmup):
        build = theirs.get_cosine_with_min_lr_schedule_with_warmup
        expected = of_library(lambda o: build(o, warmup, total, min_lr_rate=0.1), total)
        assert factors(schedules.cosine, total, warmup_steps=warmup, floor=0.1) == pytest.approx(expected)

    def test_linear_is_hugging_faces(self, total, warmup):
        expected = of_library(lambda o: theirs.get_linear_schedule_with_warmup(o, warmup, total), total)
        assert factors(schedules.linear, total, warmup_steps=warmup) == pytest.approx(expected)

    def test_constant_is_hugging_faces(self, total, warmup):
        expected = of_library(lambda o: theirs.get_constant_schedule_with_warmup(o, warmup), total)
        assert factors(schedules.constant, total, warmup_steps=warmup) == pytest.approx(expected)

    def test_inverse_sqrt_is_hugging_faces(self, total, warmup):
        expected = of_library(lambda o: theirs.get_inverse_sqrt_schedule(o, warmup), total)
        assert factors(schedules.inverse_sqrt, total, warmup_steps=warmup) == pytest.approx(expected)


@pytest.mark.parametrize(("total", "warmup"), [(10, 3), (100, 30), (20, 10)])
def test_one_cycle_is_torchs(total, warmup):
    def build(optimizer):
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=total, pct_start=warmup / total, cycle_momentum=False)

    assert factors(schedules.one_cycle, total, warmup_steps=warmup) == pytest.approx(of_library(build, total))


@pytest.mark.parametrize("kind", ["log", "linear"])
@pytest.mark.parametrize(("total", "warmup"), [(10, 3), (100, 30), (20, 1), (20, 20)])
@pytest.mark.parametrize("floor", [0.0, 0.2])
def test_warmup_decay_is_deepspeeds(total, warmup, kind, floor):
    lr_schedules = pytest.importorskip("deepspeed.runtime.lr_schedules")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = lr_schedules.WarmupDecayLR(
        optimizer, total, warmup_min_lr=floor, warmup_max_lr=1.0, warmup_num_steps=warmup, warmup_type=kind
    )
    for step in range(total):
        reference.step()  # from -1 to 0 first
        ours = schedules.warmup_decay(step, total_steps=total, warmup_steps=warmup, warmup_type=kind, floor=floor)
        assert ours == pytest.approx(reference.get_last_lr()[0])


class TestByHand:
    def test_cosine_over_ten_steps_after_two_of_warmup(self):
        assert schedules.cosine(0, total_steps=10, warmup_steps=2) == 0.0
        assert schedules.cosine(1, total_steps=10, warmup_steps=2) == 0.5
        assert schedules.cosine(2, total_steps=10, warmup_steps=2) == 1.0
        assert schedules.cosine(6, total_steps=10, warmup_steps=2) == pytest.approx(0.5)
        assert schedules.cosine(10, total_steps=10, warmup_steps=2, floor=0.1) == pytest.approx(0.1)
        assert schedules.cosine(99, total_steps=10, warmup_steps=2, floor=0.1) == pytest.approx(0.1)

    def test_linear_stops_at_its_floor(self):
        assert [schedules.linear(step, total_steps=4, floor=0.2) for step in (0, 2, 4, 9)] == pytest.approx([1.0, 0.6, 0.2, 0.2])

    def test_warmup_decay_warms_up_by_the_logarithm(self):
        values = [schedules.warmup_decay(step, total_steps=16, warmup_steps=8) for step in (0, 1, 3, 7, 8, 12, 16)]
        assert values == pytest.approx([0.0, 1 / 3, 2 / 3, 1.0, 1.0, 0.5, 0.0])

    def test_warmup_decay_without_warmup_starts_at_the_peak(self):
        assert [schedules.warmup_decay(step, total_steps=4) for step in range(5)] == [1.0, 0.75, 0.5, 0.25, 0.0]

    def test_one_cycle_rises_from_a_twenty_fifth(self):
        assert schedules.one_cycle(0, total_steps=100, warmup_steps=30) == pytest.approx(1 / 25)
        assert schedules.one_cycle(29, total_steps=100, warmup_steps=30) == pytest.approx(1.0)
        assert schedules.one_cycle(99, total_steps=100, warmup_steps=30) == pytest.approx(1 / 25e4)

    def test_inverse_sqrt_halves_after_three_timescales(self):
        assert schedules.inverse_sqrt(400, total_steps=1, warmup_steps=100) == pytest.approx(0.5)
        assert schedules.inverse_sqrt(30_000, total_steps=1) == pytest.approx(0.5)


ALL = (
    schedules.constant,
    schedules.linear,
    schedules.cosine,
    schedules.warmup_decay,
    schedules.one_cycle,
    schedules.inverse_sqrt,
)


@given(st.sampled_from(ALL), st.integers(1, 300), st.floats(0, 1), st.integers(0, 400))
def test_every_factor_is_between_zero_and_one(schedule, total, ratio, step):
    warmup = schedules.resolve_warmup(total, warmup_ratio=ratio)
    assert 0.0 <= schedule(step, total_steps=total, warmup_steps=warmup) <= 1.0 + 1e-12


class TestResolveWarmup:
    def test_ratio_is_rounded_up(self):
        assert schedules.resolve_warmup(101, warmup_ratio=0.03) == math.ceil(3.03) == 4

    def test_steps_are_taken_as_they_are(self):
        assert schedules.resolve_warmup(100, warmup_steps=7) == 7
        assert schedules.resolve_warmup(100) == 0

    def test_both_at_once_are_refused(self):
        with pytest.raises(ValueError, match="one of them"):
            schedules.resolve_warmup(100, warmup_ratio=0.1, warmup_steps=7)

    @pytest.mark.parametrize("settings", [{"warmup_ratio": 3.0}, {"warmup_ratio": -0.1}, {"warmup_steps": 101}, {"warmup_steps": -1}])
    def test_warmup_outside_the_run_is_refused(self, settings):
        with pytest.raises(ValueError, match="warmup"):
            schedules.resolve_warmup(100, **settings)


def test_run_without_steps_is_refused():
    with pytest.raises(ValueError, match="total_steps=0"):
        schedules.cosine(0, total_steps=0)


def test_unknown_warmup_type_is_refused():
    with pytest.raises(ValueError, match="log or linear"):
        schedules.warmup_decay(0, total_steps=3, warmup_type="cubic")
