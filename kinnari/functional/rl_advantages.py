"""From the score of an answer to the advantage of each of its tokens.

    reward_t    = -coefficient * kl_t,  and the score on top at the last token of the answer
    delta_t     = reward_t + gamma * V_{t+1} - V_t               V is 0 after the last token
    advantage_t = sum_l (gamma * lambda)^l delta_{t+l}           return_t = advantage_t + V_t

Source: generalised advantage estimation, Schulman et al. 2015, arXiv 1506.02438, equation 16; the reward per token, Ziegler et al. 2019,
arXiv 1909.08593, section 2.

Only tokens of the mask exist here: prompt, padding, and tokens a policy did not choose (a tool's, another turn's) are stepped over, so
they carry no value on and get neither advantage nor return, whatever numbers stand in them.

Notation: B rows, T positions; mask nonzero on the tokens the policy chose, its end token among them.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from kinnari.functional.pooling import last_token
from kinnari.functional.running_moments import Moments, moments_of


class Advantages(NamedTuple):
    """[B, T] each, 0 outside of the mask, without gradient."""

    advantages: Tensor
    returns: Tensor


def token_rewards(scores: Tensor, kl: Tensor, mask: Tensor, coefficient: float) -> Tensor:
    """Rewards [B, T]: the KL penalty of every token, and the answer's score at its last token.

    Args:
        scores: [B] of whole answers; that of a row without a token goes nowhere.
        kl: [B, T] nats, an estimate of each token's divergence from the reference (`rl_losses.token_kl`, k1 as published).
        mask: [B, T].
        coefficient: of the penalty.
    """
    there = mask != 0
    rewards = torch.where(there, -coefficient * kl, 0.0)
    ends = last_token(mask)[:, None]
    return rewards.scatter_add(1, ends, torch.where(there.gather(1, ends), scores[:, None].to(rewards.dtype), 0.0)).detach()


@torch.no_grad()
def gae(rewards: Tensor, values: Tensor, mask: Tensor, *, gamma: float = 1.0, lam: float = 0.95) -> Advantages:
    """Advantages and returns of every token.

    Args:
        rewards: [B, T].
        values: [B, T] of the state before each token.
        mask: [B, T].
        gamma: discount of a token's reward per token before it.
        lam: 1 is the return minus the value, 0 the surprise of one token alone.
    """
    there = mask != 0
    rewards, values = torch.where(there, rewards, 0.0), torch.where(there, values, 0.0)
    advantages = torch.zeros_like(values)
    next_value = next_advantage = values.new_zeros(len(values))
    for t in reversed(range(values.shape[1])):
        advantage = rewards[:, t] + gamma * next_value - values[:, t] + gamma * lam * next_advantage
        advantages[:, t] = torch.where(there[:, t], advantage, 0.0)
        next_value = torch.where(there[:, t], values[:, t], next_value)
        next_advantage = torch.where(there[:, t], advantage, next_advantage)
    return Advantages(advantages, advantages + values)


def whiten(values: Tensor, mask: Tensor, *, moments: Moments | None = None, shift_mean: bool = True, eps: float = 1e-8) -> Tensor:
    """(values - mean) / sqrt(variance + eps) over the tokens of the mask, 0 elsewhere.

    Args:
        values, mask: [B, T].
        moments: of the tokens of all ranks and micro-batches (`moments_of`, `merged`); None takes those of `values`. A batch of its own
            would be whitened by other numbers than the step it belongs to.
        shift_mean: False keeps the mean, as for rewards, whose sign means something.
    """
    moments = moments or moments_of(values, mask)
    mean, scale = moments.mean.to(values), (moments.variance + eps).rsqrt().to(values)
    white = (values - mean) * scale
    return torch.where(mask != 0, white if shift_mean else white + mean, 0.0)
