"""From scores to what each token teaches."""

import pytest
import torch

from kinnari.errors import ConfigError
from kinnari.functional.running_moments import RunningMoments
from kinnari.rollouts.advantages import set_advantages, set_rewards
from kinnari.rollouts.rollout import Rollout
from kinnari.rollouts.settings import PPOSettings
from kinnari.text.prompts import Prompt


def rollouts(*scores, finished=True):
    made = []
    for score in scores:
        rollout = Rollout(Prompt((), [1], "r:0", ""), [3, 2], "", finished=finished, score=score)
        rollout.numbers = {
            "logprobs": torch.tensor([-1.0, -1.0]),
            "ref_logprobs": torch.tensor([-1.5, -1.0]),
            "values": torch.tensor([0.5, 1.0]),
        }
        made.append(rollout)
    return made


def rewards(made, baselines=None, seen=None, **settings):
    set_rewards(made, baselines, PPOSettings(**settings), seen or RunningMoments())
    return [r.reward for r in made]


def test_rewards_by_hand_clip_baseline_and_penalty():
    assert rewards(rollouts(3.0, -40.0)) == [3.0, -10.0]
    assert rewards(rollouts(3.0, 1.0), baselines=[1.0, 4.0]) == [2.0, -3.0]
    assert rewards(rollouts(3.0, finished=False), missing_eos_penalty=1.0) == [2.0]


def test_answers_to_one_prompt_are_measured_against_the_others():
    made = rollouts(3.0, 1.0, 2.0, 10.0, 10.0, 4.0)  # 3 - (1 + 2) / 2, ...; 10 - (10 + 4) / 2, ...
    assert rewards(made, baseline="others", answers_per_prompt=3, num_rollouts=6) == pytest.approx([1.5, -1.5, 0.0, 3.0, 3.0, -6.0])
    cut = [*rollouts(3.0), *rollouts(3.0, finished=False)]
    assert rewards(cut, baseline="others", answers_per_prompt=2, missing_eos_penalty=1.0) == [1.0, -1.0]
    with pytest.raises(ConfigError, match="answers_per_prompt to 2 or more"):
        PPOSettings(baseline="others")
    with pytest.raises(ConfigError, match=r"multiple of ppo\.answers_per_prompt"):
        PPOSettings(num_rollouts=8, answers_per_prompt=3)


def test_scaling_by_the_running_or_the_first_deviation():
    seen = RunningMoments()
    assert rewards(rollouts(2.0, 6.0), seen=seen, reward_scaling="running") == [1.0, 3.0]  # deviation 2
    assert seen.count == 2
    first = RunningMoments()
    rewards(rollouts(2.0, 6.0), seen=first, reward_scaling="first")
    assert rewards(rollouts(20.0, 60.0), seen=first, reward_scaling="first", reward_clip=None) == [10.0, 30.0]


def test_advantages_by_hand():
    made = rollouts(2.0)
    set_rewards(made, None, PPOSettings(), RunningMoments())
    found = set_advantages(made, PPOSettings(whiten=False, lam=0.5), kl_coef=0.2)

    # rewards: -0.2 * 0.5 at the first token, 2 at the last; delta_2 = 2 - 1 = 1, delta_1 = -0.1 + 1 - 0.5 = 0.4
    assert made[0].numbers["advantages"].tolist() == pytest.approx([0.4 + 0.5 * 1.0, 1.0])
    assert made[0].numbers["returns"].tolist() == pytest.approx([0.9 + 0.5, 2.0])
    assert found["kl"] == pytest.approx(0.5) and found["kl_k3"] == pytest.approx(torch.expm1(torch.tensor(-0.5)).item() + 0.5)


def test_whitened_advantages_have_mean_0_and_variance_1_over_all_tokens():
    made = rollouts(2.0, -1.0, 0.3)
    set_rewards(made, None, PPOSettings(), RunningMoments())
    set_advantages(made, PPOSettings(), kl_coef=0.1)
    every = torch.cat([r.numbers["advantages"] for r in made])

    assert float(every.mean()) == pytest.approx(0, abs=1e-6) and float(every.var(correction=0)) == pytest.approx(1, abs=1e-5)
