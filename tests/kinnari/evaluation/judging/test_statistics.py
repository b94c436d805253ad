"""Intervals cover, and length is taken out."""

from __future__ import annotations

import numpy as np
import pytest

from kinnari.evaluation.judging.statistics import (
    interval,
    length_controlled,
    length_controlled_interval,
    resample_counts,
    resampled_means,
)


def test_resampled_means_are_those_of_drawn_rows():
    values = np.array([[4.0, 40.0], [1.0, 10.0], [2.0, 20.0], [1.0, 10.0]])
    means = resampled_means(values, seed=3, resamples=50)
    different = np.array([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]])
    drawn = resample_counts(np.array([2.0, 1.0, 1.0]), 50, seed=3)
    slow = [np.mean([row for row, times in zip(different, counts, strict=True) for _ in range(int(times))], axis=0) for counts in drawn]
    np.testing.assert_allclose(means, slow)
    np.testing.assert_allclose(means[:, 1], 10 * means[:, 0])  # columns stay together


def test_the_interval_of_a_mean_is_that_of_the_normal_approximation():
    values = np.random.default_rng(0).normal(size=(400, 1))
    low, high = interval(resampled_means(values, seed=0)[:, 0])
    error = 1.96 * values.std() / 20
    assert (low, high) == (pytest.approx(values.mean() - error, abs=0.015), pytest.approx(values.mean() + error, abs=0.015))


def test_intervals_cover_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(1)
    covered = 0
    for trial in range(200):
        low, high = interval(resampled_means((rng.random((80, 1)) < 0.3).astype(float), seed=trial, resamples=400)[:, 0])
        covered += low <= 0.3 <= high
    assert 0.9 <= covered / 200 <= 0.99


def test_a_judge_that_goes_by_length_leaves_half_at_equal_lengths():
    rng = np.random.default_rng(0)
    differences = rng.normal(1.0, 1.0, 400)  # the second answer is usually longer
    outcomes = (differences + rng.normal(0, 0.5, 400) > 0).astype(float)
    assert outcomes.mean() > 0.75
    assert length_controlled(outcomes, differences) == pytest.approx(0.5, abs=0.12)


def test_a_judge_that_does_not_care_for_length_is_left_as_it_is():
    rng = np.random.default_rng(0)
    outcomes = (rng.random(2000) < 0.7).astype(float)
    assert length_controlled(outcomes, rng.normal(2.0, 1.0, 2000)) == pytest.approx(outcomes.mean(), abs=0.07)


def test_the_fit_is_where_no_other_is_better():
    outcomes, differences = [1.0, 0.5, 0.0, 1.0, 1.0], np.array([3.0, 1.0, -2.0, -1.0, 4.0])
    x, y = np.tanh(differences / differences.std()), np.array(outcomes)
    a, b = np.meshgrid(np.linspace(-3, 3, 601), np.linspace(-3, 3, 601), indexing="ij")
    z = a[..., None] + b[..., None] * x
    loss = (np.log1p(np.exp(z)) - y * z).sum(-1) + b**2 / 2
    best = a.flat[loss.argmin()]
    assert length_controlled(outcomes, differences) == pytest.approx(1 / (1 + np.exp(-best)), abs=0.003)


def test_weights_are_repetitions():
    outcomes, differences = [1.0, 0.0, 0.5, 1.0], [2.0, -1.0, 0.0, -3.0]
    counts = np.array([2.0, 1.0, 0.0, 1.0])
    slope_scale = np.array(differences).std()  # of all rows, whatever they count
    repeated = [(o, d) for o, d, n in zip(outcomes, differences, counts, strict=True) for _ in range(int(n))]
    assert length_controlled(outcomes, differences, counts) == pytest.approx(
        _fit([o for o, _ in repeated], [d for _, d in repeated], slope_scale), abs=1e-4
    )


def _fit(outcomes, differences, scale):
    """Plain gradient descent."""
    x, y, p = np.tanh(np.array(differences) / scale), np.array(outcomes), np.zeros(2)
    for _ in range(20_000):
        error = 1 / (1 + np.exp(-p[0] - p[1] * x)) - y
        p -= 0.05 * np.array([error.sum(), (error * x).sum() + p[1]])
    return 1 / (1 + np.exp(-p[0]))


def test_equal_lengths_or_one_outcome_leave_the_raw_rate():
    assert length_controlled([1.0, 0.0, 1.0], [5.0, 5.0, 5.0]) == pytest.approx(2 / 3)
    assert length_controlled([1.0, 1.0], [5.0, -9.0]) == 1.0
    assert length_controlled_interval([0.5], [3.0], seed=0) == (0.5, 0.5)


def test_length_alone_that_parts_wins_from_losses_has_an_end():
    assert 0.2 < length_controlled([1.0, 1.0, 0.0, 0.0], [10.0, 11.0, -10.0, -11.0]) < 0.8


def test_equal_rows_drawn_as_one_spread_as_rows_drawn_one_by_one():
    rng = np.random.default_rng(5)
    values = (rng.random((60, 1)) < 0.4).astype(float)
    together = resampled_means(values, seed=0, resamples=20_000)[:, 0]
    apart = values[rng.integers(0, 60, size=(20_000, 60)), 0].mean(axis=1)
    assert together.mean() == pytest.approx(apart.mean(), abs=0.003)
    assert together.std() == pytest.approx(apart.std(), rel=0.03)
