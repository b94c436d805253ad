"""Mean and variance of numbers that come in batches and on several ranks, without keeping the numbers.

    merged:  mean = mean_a + (mean_b - mean_a) n_b / n,    m2 = m2_a + m2_b + (mean_b - mean_a)² n_a n_b / n

Source: Chan, Golub, LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample variances" (Welford's method, many
numbers at a time). Sums of squares would lose all digits where the mean is far from 0.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Moments(NamedTuple):
    """How many numbers n, their mean, and the sum of squared deviations from it, each [] float64; ranks exchange `torch.stack` of them."""

    n: Tensor
    mean: Tensor
    m2: Tensor

    @property
    def variance(self) -> Tensor:
        """Of the population, m2 / n: defined for a single number too (0); 0 for none."""
        return self.m2 / self.n.clamp(min=1)


def moments_of(values: Tensor, mask: Tensor | None = None) -> Moments:
    """Moments of `values`, of any shape, where `mask` of the same shape is nonzero; of all of them without a mask."""
    chosen = (values.reshape(-1) if mask is None else values[mask != 0]).detach().double()
    n = torch.tensor(float(chosen.numel()), dtype=torch.float64, device=values.device)
    mean = chosen.sum() / n.clamp(min=1)
    return Moments(n, mean, (chosen - mean).square().sum())


def merged(one: Moments, other: Moments) -> Moments:
    """Moments of the numbers of both."""
    n = one.n + other.n
    distance, share = other.mean - one.mean, other.n / n.clamp(min=1)
    return Moments(n, one.mean + distance * share, one.m2 + other.m2 + distance.square() * one.n * share)


class RunningMoments:
    """Moments of everything seen so far, for scaling rewards by a standard deviation that does not jump with every batch."""

    def __init__(self) -> None:
        self._count, self._mean, self._m2 = 0.0, 0.0, 0.0

    def update(self, moments: Moments) -> None:
        """Take in the moments of a batch (of all ranks: `merged`, or every rank would go its own way)."""
        everything = merged(self.moments, Moments(*(part.detach().cpu().double() for part in moments)))
        self._count, self._mean, self._m2 = (float(part) for part in everything)

    @property
    def moments(self) -> Moments:
        return Moments(*(torch.tensor(value, dtype=torch.float64) for value in (self._count, self._mean, self._m2)))

    @property
    def count(self) -> int:
        return int(self._count)

    @property
    def mean(self) -> float:
        """0 before the first number."""
        return self._mean

    @property
    def std(self) -> float:
        """Of the population; 1 before the second number, so that dividing by it changes nothing."""
        return math.sqrt(self._m2 / self._count) if self._count > 1 else 1.0

    def state_dict(self) -> dict[str, float]:
        """Plain numbers, exact: a resumed run goes on with the same ones."""
        return {"count": self._count, "mean": self._mean, "m2": self._m2}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._count, self._mean, self._m2 = (float(state[name]) for name in ("count", "mean", "m2"))
