"""Direct preference optimisation: a pair's loss from four sums of log-probabilities.

    h    = beta * ((log p_chosen - log ref_chosen) - (log p_rejected - log ref_rejected))
    loss = -(1 - smoothing) log sigmoid(h) - smoothing log sigmoid(-h)

Sources: Rafailov et al. 2023, arXiv 2305.18290, equation 7; smoothing, for pairs that are the wrong way round with that probability,
Mitchell 2023, "A note on DPO with noisy preferences" (ericmitchell.ai). Sums and counts, as everywhere: see `rl_losses`.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class DPOLoss(NamedTuple):
    """Sums over pairs; the loss alone carries a gradient. Rewards are beta * (log p - log ref)."""

    loss_sum: Tensor
    """[] float32, nats."""
    pairs: Tensor
    """[] int64."""
    correct: Tensor
    """[] int64: pairs whose chosen answer has the larger reward."""
    chosen_reward_sum: Tensor
    """[] float32."""
    rejected_reward_sum: Tensor
    """[] float32; the difference of the two is the margin."""


def sequence_logprobs(token_logprobs: Tensor, mask: Tensor) -> Tensor:
    """Log-probability of each answer: token_logprobs [B, T] summed over its tokens (mask nonzero) -> [B] float32."""
    exact = token_logprobs.to(torch.promote_types(token_logprobs.dtype, torch.float32))
    return torch.where(mask != 0, exact, 0.0).sum(1)


def dpo_loss(
    chosen: Tensor,
    rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    *,
    beta: float = 0.1,
    label_smoothing: float = 0.0,
    counted: Tensor | None = None,
) -> DPOLoss:
    """Loss of P pairs.

    Args:
        chosen, rejected: [P] log-probabilities of whole answers under the policy, with gradient.
        reference_chosen, reference_rejected: [P] the same under the reference.
        beta: how much leaving the reference costs; above 0.
        label_smoothing: probability that a pair is the wrong way round; at least 0 and below 0.5.
        counted: [P], nonzero on pairs that count (a rank without data has one that does not); None for all.

    Raises:
        ValueError: beta or label_smoothing out of range.
    """
    if not beta > 0 or not 0 <= label_smoothing < 0.5:
        raise ValueError(f"beta={beta} must be above 0 and label_smoothing={label_smoothing} at least 0 and below 0.5")
    there = torch.ones_like(chosen, dtype=torch.bool) if counted is None else counted != 0
    chosen_reward, rejected_reward = (
        beta * (torch.where(there, policy, 0.0) - torch.where(there, reference, 0.0).detach())
        for policy, reference in ((chosen, reference_chosen), (rejected, reference_rejected))
    )
    h = chosen_reward - rejected_reward
    losses = pair_losses(h, label_smoothing)
    return DPOLoss(
        torch.where(there, losses, 0.0).sum(), there.sum(), (h > 0).sum(), chosen_reward.detach().sum(), rejected_reward.detach().sum()
    )


def pair_losses(h: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Losses in nats of pairs whose chosen answers gained `h` more than the rejected ones, in the shape of `h`."""
    return -(1 - label_smoothing) * F.logsigmoid(h) - label_smoothing * F.logsigmoid(-h)
