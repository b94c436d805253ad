"""From the scores of an iteration's answers to what each of their tokens teaches, over all ranks together."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from kinnari.functional.rl_advantages import gae, token_rewards, whiten
from kinnari.functional.rl_losses import explained_variance, token_kl
from kinnari.functional.running_moments import Moments, RunningMoments, merged, moments_of
from kinnari.rollouts.rollout import Rollout, side_by_side
from kinnari.rollouts.settings import PPOSettings
from kinnari.strategies.microbatches import gather_objects


def over_ranks(moments: Moments) -> Moments:
    """Moments of the numbers of all ranks, the same on each. Collective."""
    parts = gather_objects(tuple(float(part) for part in moments))
    return reduce(merged, (Moments(*(torch.tensor(x, dtype=torch.float64) for x in part)) for part in parts))


def set_rewards(rollouts: Sequence[Rollout], baselines: Sequence[float] | None, settings: PPOSettings, seen: RunningMoments) -> None:
    """`reward` of each rollout out of its `score`: less the baseline and a penalty for a missing end, scaled, clipped. Collective.

    Args:
        rollouts: answers to the same prompt are neighbours.
        baselines: score of the data's own answer to each prompt, or None.
        seen: moments of all rewards before scaling; with "first" those of the first iteration.
    """
    rewards = torch.tensor([r.score for r in rollouts], dtype=torch.float64)
    if baselines is not None:
        rewards = rewards - torch.tensor(baselines, dtype=torch.float64)
    rewards = rewards - settings.missing_eos_penalty * torch.tensor([not r.finished for r in rollouts], dtype=torch.float64)
    if settings.baseline == "others":
        rewards = less_the_others(rewards, settings.answers_per_prompt)
    if settings.reward_scaling == "running" or (settings.reward_scaling == "first" and seen.count == 0):
        seen.update(over_ranks(moments_of(rewards)))
    if settings.reward_scaling != "none":
        rewards = rewards / max(seen.std, 1e-6)
    if settings.reward_clip is not None:
        rewards = rewards.clamp(-settings.reward_clip, settings.reward_clip)
    for rollout, reward in zip(rollouts, rewards.tolist(), strict=True):
        rollout.reward = reward


def less_the_others(rewards: Tensor, answers_per_prompt: int) -> Tensor:
    """[N] less the mean of the others of its k neighbours: k / (k - 1) times what is above the group's mean."""
    groups = rewards.view(-1, answers_per_prompt)
    return ((groups - groups.mean(1, keepdim=True)) * answers_per_prompt / (answers_per_prompt - 1)).flatten()


def set_advantages(rollouts: Sequence[Rollout], settings: PPOSettings, kl_coef: float) -> dict[str, float]:
    """`advantages` and `returns` of every token out of rewards, values and both log-probabilities. Collective.

    Returns:
        kl (mean over answers, k1, nats an answer), kl_k3 (the same, never negative in expectation or in fact),
        explained_variance of the values.
    """
    logprobs, mask = side_by_side(rollouts, "logprobs")
    reference, _ = side_by_side(rollouts, "ref_logprobs")
    values, _ = side_by_side(rollouts, "values")
    kl = token_kl(logprobs, reference, "k1")
    scores = torch.tensor([r.reward for r in rollouts])
    found = gae(token_rewards(scores, kl, mask, kl_coef), values, mask, gamma=settings.gamma, lam=settings.lam)
    advantages = (
        whiten(found.advantages, mask, moments=over_ranks(moments_of(found.advantages, mask))) if settings.whiten else found.advantages
    )
    for i, rollout in enumerate(rollouts):
        rollout.numbers["advantages"] = advantages[i, : len(rollout)].clone()
        rollout.numbers["returns"] = found.returns[i, : len(rollout)].clone()
    residuals, returns = (over_ranks(moments_of(part, mask)) for part in (found.returns - values, found.returns))
    per_answer = [_per_answer(part, mask) for part in (kl, token_kl(logprobs, reference, "k3"))]
    return {"kl": per_answer[0], "kl_k3": per_answer[1], "explained_variance": explained_variance(residuals, returns)}


def _per_answer(values: Tensor, mask: Tensor) -> float:
    return float(over_ranks(moments_of(torch.where(mask, values, 0.0).sum(1))).mean)
