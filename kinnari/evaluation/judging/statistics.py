"""How sure a comparison is: bootstrap intervals, and the win rate if answers were equally long."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

Floats = NDArray[np.float64]

RESAMPLES = 2000
REFITS = 200  # of the length-controlled rate, which is fitted anew for each
LEVEL = 0.95
_PRIOR = 1.0  # precision of a normal prior on the slope: finite where length alone parts wins from losses
_CELLS = 4_000_000  # of a block of resampled counts, 32 MB


def resample_counts(times: Floats, resamples: int, seed: int) -> Floats:
    """[resamples, N]: how often each of N different rows is drawn, with replacement, where row i is there `times[i]` times."""
    n = int(times.sum())
    return np.random.default_rng(seed).multinomial(n, times / n, size=resamples).astype(np.float64)


def resampled_means(values: Floats, seed: int, resamples: int = RESAMPLES) -> Floats:
    """Means [resamples, K] of rows of values [N, K] drawn with replacement; columns stay together.

    Equal rows are drawn as one, more often: verdicts and scores have few values, and thousands of rows cost no more than some.
    """
    rows, times = np.unique(values, axis=0, return_counts=True)
    block = max(1, _CELLS // len(rows))
    starts = range(0, resamples, block)
    drawn = (resample_counts(times.astype(np.float64), min(block, resamples - s), seed + s) for s in starts)
    return np.concatenate([counts @ rows / len(values) for counts in drawn])


def interval(samples: Floats, level: float = LEVEL) -> tuple[float, float]:
    """Percentile interval of what resamples gave."""
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def length_controlled(outcomes: Sequence[float], differences: Sequence[float], weights: Floats | None = None) -> float:
    """Win rate of the second side at equal lengths.

    As AlpacaEval 2 (Dubois et al. 2024, arXiv:2404.04475): a logistic regression of the outcome on tanh(difference / its standard
    deviation), read off at difference 0. Its term for the difficulty of each instruction, which takes many models to fit, is left out.

    Args:
        outcomes: 1 where the second side wins, 0.5 for a tie, 0.
        differences: length of the second answer minus that of the first, in any unit.
        weights: how often each row counts; None is once.
    """
    y, d = np.asarray(outcomes, dtype=np.float64), np.asarray(differences, dtype=np.float64)
    w = np.ones_like(y) if weights is None else weights
    present = y[w > 0]
    spread = d.std()
    if spread == 0 or np.all(present == present[0]):
        return float((w * y).sum() / w.sum())
    x = np.tanh(d / spread)

    def loss(parameters: Floats) -> tuple[float, Floats]:
        z = parameters[0] + parameters[1] * x
        error = w * (expit(z) - y)
        value = (w * (np.logaddexp(0, z) - y * z)).sum() + _PRIOR / 2 * parameters[1] ** 2
        return float(value), np.array([error.sum(), (error * x).sum() + _PRIOR * parameters[1]])

    return float(expit(minimize(loss, np.zeros(2), jac=True, method="BFGS").x[0]))


def length_controlled_interval(outcomes: Sequence[float], differences: Sequence[float], seed: int) -> tuple[float, float]:
    """Of the length-controlled win rate over resampled rows."""
    rates = [length_controlled(outcomes, differences, counts) for counts in resample_counts(np.ones(len(outcomes)), REFITS, seed)]
    return interval(np.array(rates))
