"""What is watched while PPO learns from one iteration's rollouts."""

from __future__ import annotations

import math

import torch
from pytorch_lightning.strategies import Strategy

from kinnari.functional.rl_losses import MaskedSum, PolicyLoss, ValueLoss
from kinnari.strategies.microbatches import agree_max, sum_over_ranks

_NAMES = ("policy_loss", "value_loss", "entropy", "clip_fraction", "approx_kl")


class StepWatch:
    """Sums over micro-batches of a step, means over tokens of all ranks of each step, and of those the means of an iteration."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.steps: list[list[float]] = []
        self.first_ratio_error = math.nan
        self.begin_step()

    def begin_step(self) -> None:
        """Forget the micro-batches of the step before."""
        self._sums = torch.zeros(len(_NAMES) + 1, dtype=torch.float64)
        self._ratio_error = 0.0

    def add(self, policy: PolicyLoss, value: ValueLoss, entropy: MaskedSum) -> None:
        """A micro-batch."""
        parts = (policy.loss_sum, value.loss_sum, entropy.total, policy.clipped, policy.kl_sum, policy.tokens)
        self._sums += torch.tensor([float(part.detach()) for part in parts], dtype=torch.float64)
        self._ratio_error = max(self._ratio_error, float(policy.ratio_error))

    def end_step(self, strategy: Strategy, loss: float) -> float:
        """Close a step over all ranks; returns its mean KL (k3) of a token to the policy that chose it. Collective."""
        *sums, tokens = sum_over_ranks(strategy, self._sums).tolist()
        means = [part / max(1.0, tokens) for part in sums]
        if not self.steps:
            self.first_ratio_error = agree_max(strategy, self._ratio_error)
        self.steps.append(means)
        self.losses.append(loss)
        return means[_NAMES.index("approx_kl")]

    def metrics(self) -> dict[str, float]:
        """Means over the steps; `first_ratio_error` is that of the first step, where the weights were still those of the rollouts."""
        means = torch.tensor(self.steps, dtype=torch.float64).mean(0).tolist() if self.steps else [math.nan] * len(_NAMES)
        return dict(zip(_NAMES, means, strict=True)) | {"first_ratio_error": self.first_ratio_error, "steps": float(len(self.steps))}
