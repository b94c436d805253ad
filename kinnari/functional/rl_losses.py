"""PPO's losses, and what is watched beside them. Sums and counts, never means: micro-batches and ranks add up, and whoever steps divides
by the number of tokens of the whole global batch, as fine-tuning does.

    ratio  = exp(log p - log p_old)
    policy = -min(ratio A, clip(ratio, 1 - c, 1 + c) A)
    value  = 1/2 max((V - R)², (clip(V, V_old - c, V_old + c) - R)²)

Sources: PPO, Schulman et al. 2017, arXiv 1707.06347, equation 7; the clipped value loss, openai/baselines and CarperAI/trlx; estimators of
KL, Schulman 2020, "Approximating KL divergence" (joschu.net).

Numbers outside of the mask are never read: neither a NaN nor an infinity there reaches a sum or a gradient, and an empty mask gives 0.

Notation: B rows, T positions, nats; mask [B, T] nonzero on the tokens the policy chose.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from kinnari.functional.running_moments import Moments

Estimator = Literal["k1", "k2", "k3"]

LARGEST_LOG_RATIO = 20.0
"""exp(20) = 5e8: beyond, a ratio says no more than that the policies have nothing in common, and would soon be infinite."""


class MaskedSum(NamedTuple):
    """A sum over the tokens of a mask."""

    total: Tensor
    """[] float32 or wider."""
    tokens: Tensor
    """[] int64."""


class PolicyLoss(NamedTuple):
    """PPO's policy loss and its watchdogs; the loss alone carries a gradient."""

    loss_sum: Tensor
    """[] float32."""
    tokens: Tensor
    """[] int64."""
    clipped: Tensor
    """[] int64: tokens whose gradient the clip took away."""
    kl_sum: Tensor
    """[] float32 nats: k3 estimate of KL(old | new) summed over the tokens; many per token mean that the step went too far."""
    ratio_error: Tensor
    """[] float32: largest |ratio - 1|. With unchanged weights anything but 0 is a bug: dropout, padding, temperature. Ranks take the
    maximum, not the sum."""


class ValueLoss(NamedTuple):
    """The critic's loss; it alone carries a gradient."""

    loss_sum: Tensor
    """[] float32."""
    tokens: Tensor
    """[] int64."""
    clipped: Tensor
    """[] int64: tokens whose clipped error was the larger."""


def masked_sum(values: Tensor, mask: Tensor) -> MaskedSum:
    """Sum of `values` over the mask: of an entropy (for a bonus: minus coefficient times it), a KL, a reward."""
    return MaskedSum(_within(values, mask).sum(), _count(mask))


def policy_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, *, clip: float = 0.2) -> PolicyLoss:
    """Clipped surrogate of PPO, summed over tokens.

    Args:
        logprobs: [B, T] of the policy, with gradient.
        old_logprobs: [B, T] of the policy that chose the tokens.
        advantages: [B, T].
        mask: [B, T].
        clip: how far the ratio may go from 1 before a token that goes the right way is left alone.
    """
    log_ratio = _within(logprobs, mask) - _within(old_logprobs, mask).detach()
    log_ratio = log_ratio.clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO)
    ratio, advantages = log_ratio.exp(), _within(advantages, mask).detach()
    free, bounded = ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages
    with torch.no_grad():
        kl_sum = (ratio - 1 - log_ratio).sum()  # 0 where masked
        error = (ratio - 1).abs().amax() if ratio.numel() else ratio.sum()
        clipped = (bounded < free).sum()
    return PolicyLoss(-torch.minimum(free, bounded).sum(), _count(mask), clipped, kl_sum, error)


def value_loss(values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, *, clip: float | None = 0.2) -> ValueLoss:
    """Half the squared error of the critic, summed over tokens; the worse of itself and its clipped self.

    Args:
        values: [B, T], with gradient.
        old_values: [B, T], of the critic that the advantages were computed with.
        returns: [B, T].
        mask: [B, T].
        clip: how far a value may go from the old one; None for no clipping.
    """
    values, old_values, returns = (_within(part, mask) for part in (values, old_values.detach(), returns.detach()))
    errors = (values - returns).square()
    if clip is None:
        return ValueLoss(0.5 * errors.sum(), _count(mask), torch.zeros_like(_count(mask)))
    bounded = (torch.minimum(torch.maximum(values, old_values - clip), old_values + clip) - returns).square()
    return ValueLoss(0.5 * torch.maximum(errors, bounded).sum(), _count(mask), (bounded > errors).sum())


def token_kl(logprobs: Tensor, reference: Tensor, estimator: Estimator = "k1") -> Tensor:
    """What each token says about KL(policy | reference), in the shape of the inputs; tokens drawn from the policy.

    With d = log p - log p_ref:  k1 = d  (unbiased, of either sign),  k2 = d²/2  (biased, little noise),  k3 = exp(-d) - 1 + d  (unbiased,
    never negative).

    Raises:
        ValueError: an unknown estimator.
    """
    difference = _exact(logprobs) - _exact(reference)
    if estimator == "k1":
        return difference
    if estimator == "k2":
        return 0.5 * difference.square()
    if estimator == "k3":
        bounded = difference.clamp(min=-LARGEST_LOG_RATIO)
        return torch.expm1(-bounded) + bounded
    raise ValueError(f"estimator={estimator!r} is not known; choose k1, k2 or k3")


def explained_variance(residuals: Moments, returns: Moments) -> float:
    """1 - Var(returns - values) / Var(returns): 1 is a perfect critic, 0 one that knows the mean, below 0 one that harms.

    Args:
        residuals: moments of returns - values, over all ranks.
        returns: moments of the returns.
    """
    total = float(returns.variance)
    return 1.0 - float(residuals.variance) / total if total > 0 else 0.0


def _exact(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _within(values: Tensor, mask: Tensor) -> Tensor:
    """float32 at least, 0 outside of the mask; torch.where drops the gradient there too, where a product would make NaN of it."""
    return torch.where(mask != 0, _exact(values), 0.0)


def _count(mask: Tensor) -> Tensor:
    return (mask != 0).sum()
