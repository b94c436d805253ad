"""Differences of two models on the same prompts: worked by hand, and against slow and obvious ways."""

from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinnari.evaluation.paired import gain_at_equal_length, paired_difference, sign_test


def test_mean_and_standard_error_by_hand():
    found = paired_difference([1.0, 2.0, 3.0], [2.0, 2.0, 5.0])  # differences 1, 0, 2: mean 1, variance 1
    assert found.gain == 1.0
    assert found.gain_se == pytest.approx(1 / math.sqrt(3))
    assert found.sign_p == 0.5  # two wins, a tie: two heads of two, either way
    assert 0.0 <= found.gain_low < 1.0 < found.gain_high <= 2.0
    assert found.named("ppo/reward_").keys() >= {"ppo/reward_gain", "ppo/reward_sign_p"}


def test_the_interval_is_that_of_all_resamples():
    differences = [0.0, 1.0, 5.0, -2.0, 0.5]
    means = [np.mean(draw) for draw in itertools.product(differences, repeat=5)]
    found = paired_difference([0.0] * 5, differences, draws=200_000)
    assert (found.gain_low, found.gain_high) == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])), abs=0.11)  # its steps are 0.1


def test_an_interval_covers_the_truth_about_as_often_as_it_says():
    generator = np.random.default_rng(0)
    covered = 0
    for seed in range(400):
        found = paired_difference([0.0] * 60, generator.normal(0.3, 1.0, 60).tolist(), draws=1000, seed=seed)
        covered += found.gain_low <= 0.3 <= found.gain_high
    assert 0.91 <= covered / 400 <= 0.98


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 9), st.integers(0, 9))
def test_the_sign_test_counts_coins(wins, losses):
    throws = list(itertools.product((0, 1), repeat=wins + losses))
    uneven = sum(abs(2 * sum(t) - len(t)) >= abs(wins - losses) for t in throws) / len(throws)
    assert sign_test(wins, losses) == pytest.approx(uneven)


def test_a_gain_that_is_all_length_is_none_at_equal_length():
    generator = random.Random(0)
    shorter = [generator.randint(-20, 5) for _ in range(80)]
    by_length = [-0.1 * n + generator.gauss(0, 0.05) for n in shorter]
    gain, low, high = gain_at_equal_length(by_length, shorter)
    assert sum(by_length) > 0 and low < 0 < high and abs(gain) < 0.05
    better = [0.5 + g for g in by_length]
    gain, low, high = gain_at_equal_length(better, shorter)
    assert low > 0.4 and high < 0.6 and low < gain < high


def test_lengths_that_tell_nothing():
    assert all(math.isnan(x) for x in gain_at_equal_length([1.0, 2.0], [-3, -3]))
    assert gain_at_equal_length([1.0, 3.0], [0, 0]) == (2.0, 1.0, 3.0)


def test_one_prompt_has_no_standard_error():
    found = paired_difference([1.0], [3.0])
    assert found.gain == found.gain_low == found.gain_high == 2.0 and math.isnan(found.gain_se)
