"""Two models on the same prompts: how far apart, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class PairedDifference:
    """After minus before, over N prompts that both answered.

    Attributes:
        gain: mean difference.
        gain_se: its standard error, standard deviation / sqrt(N); NaN for one prompt.
        gain_low, gain_high: 95 % interval of the mean, percentiles of means of resampled prompts (Efron's bootstrap).
        sign_p: two-sided p of the sign test: how often a fair coin, thrown once for every prompt that is no tie, is at least as uneven.
    """

    gain: float
    gain_se: float
    gain_low: float
    gain_high: float
    sign_p: float

    def named(self, prefix: str) -> dict[str, float]:
        """Under `prefix`: {"reward_gain": ...} for "reward_"."""
        return {prefix + name: value for name, value in asdict(self).items()}


def paired_difference(before: Sequence[float], after: Sequence[float], *, draws: int = 10_000, seed: int = 0) -> PairedDifference:
    """Compare N numbers with N others, prompt by prompt; N >= 1."""
    differences = np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64)
    count = len(differences)
    error = float(differences.std(ddof=1)) / math.sqrt(count) if count > 1 else math.nan
    means = differences[_resampled(count, draws, seed)].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    p = sign_test(int((differences > 0).sum()), int((differences < 0).sum()))
    return PairedDifference(float(differences.mean()), error, float(low), float(high), p)


def sign_test(wins: int, losses: int) -> float:
    """Two-sided p of `wins` against `losses`, exact; 1 without either."""
    thrown, heads = wins + losses, max(wins, losses)
    ways = math.comb(thrown, heads)
    tail = 0
    for k in range(heads, thrown + 1):
        tail += ways
        ways = ways * (thrown - k) // (k + 1)  # of one more: a coefficient anew for each would take half a minute for 20,000
    return min(1.0, 2 * tail / 2**thrown)


def gain_at_equal_length(
    differences: Sequence[float], length_differences: Sequence[float], *, draws: int = 10_000, seed: int = 0
) -> tuple[float, float, float]:
    """What is gained where both answers are equally long: (gain, low, high), the last two a 95 % bootstrap interval over prompts.

    The intercept of the least-squares line of score differences over length differences. A gain that comes of length alone leaves 0.
    Where all lengths differ by the same, nothing can be told apart: NaN, but for none, which is the question itself.
    """
    gains, lengths = np.asarray(differences, dtype=np.float64), np.asarray(length_differences, dtype=np.float64)
    if np.ptp(lengths) == 0:
        all_told = paired_difference(np.zeros_like(gains).tolist(), gains.tolist(), draws=draws, seed=seed)
        return (all_told.gain, all_told.gain_low, all_told.gain_high) if lengths[0] == 0 else (math.nan, math.nan, math.nan)
    places = _resampled(len(gains), draws, seed)
    found = _intercepts(gains[places], lengths[places])
    low, high = np.nanpercentile(found, [2.5, 97.5])
    return float(_intercepts(gains[None], lengths[None])[0]), float(low), float(high)


def _resampled(count: int, draws: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, count, size=(draws, count))


def _intercepts(gains: Vector, lengths: Vector) -> Vector:
    """[D, N] and [D, N] -> [D]; NaN where a draw has one length alone."""
    centred = lengths - lengths.mean(axis=1, keepdims=True)
    spread = (centred**2).sum(axis=1)
    slopes = (centred * gains).sum(axis=1) / np.where(spread > 0, spread, np.nan)
    return gains.mean(axis=1) - slopes * lengths.mean(axis=1)
