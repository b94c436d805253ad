"""How PPO learns: one file of `conf/ppo/`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from kinnari.errors import ConfigError, need_number, need_truth
from kinnari.functional.kl_controller import AdaptiveKL, FixedKL, KLController

Scaling = Literal["none", "running", "first"]
Baseline = Literal["none", "reference", "others"]
_OFF = {"least": 0, "why": "0 turns it off"}
_SHARE = {"least": 0, "most": 1, "why": "1 counts all that follows in full"}
NUMBERS: dict[str, dict[str, Any]] = {  # of `errors.need_number`
    "num_rollouts": {"least": 1, "whole": True},
    "answers_per_prompt": {"least": 1, "whole": True},
    "epochs": {"least": 1, "whole": True},
    "temperature": {"above": 0, "why": "PPO learns from sampled answers, and greedy ones have no probabilities to compare"},
    "kl_coef": {"least": 0, "why": "0 turns the penalty off, below it leaving the reference would be rewarded"},
    "kl_target": {"above": 0},
    "kl_horizon": {"above": 0},
    "target_kl": {"above": 0, "null": "never stopping early"},
    "gamma": _SHARE,
    "lam": _SHARE,
    "clip": {"above": 0},
    "value_clip": {"above": 0, "null": "no clip"},
    "value_coef": _OFF,
    "entropy_coef": _OFF,
    "reward_clip": {"above": 0, "null": "no clip"},
    "missing_eos_penalty": _OFF,
    "critic_lr": {"above": 0, "null": "the policy's"},
    "ptx_coef": _OFF,
    "ema_beta": {"above": 0, "below": 1, "null": "no average"},
}


@dataclass(frozen=True, kw_only=True)
class PPOSettings:
    """Sources: PPO, arXiv 1707.06347; for language models, arXiv 1909.08593 and 2203.02155; defaults as CarperAI/trlx has them.

    Args:
        num_rollouts: answers of one iteration over all ranks.
        answers_per_prompt: of them that answer the same prompt, each sampled for itself.
        epochs: passes over them; each optimizer step takes `batch.global_size` of them.
        response_length: most tokens of an answer; or [least, most], drawn anew for each.
        temperature: of sampling, and of the log-probabilities that are compared.
        kl: adaptive or fixed coefficient of the KL penalty.
        kl_coef: the coefficient, at the beginning where it is adaptive.
        kl_target: KL of a whole answer that an adaptive coefficient steers to, nats.
        kl_horizon: answers over which it may change by 20 %.
        target_kl: mean KL (k3) of a token to the rollouts' policy above which the rest of an iteration is left out; null for never.
        gamma, lam: discount and lambda of generalised advantage estimation.
        clip: of the ratio.
        value_clip: of the values; null for none.
        value_coef: weight of the value loss.
        entropy_coef: weight of an entropy bonus.
        whiten: advantages to mean 0 and variance 1 over all tokens of an iteration.
        reward_scaling: divide scores by their running standard deviation, by that of the first iteration, or not.
        reward_clip: scores beyond are cut; null for none.
        missing_eos_penalty: taken off the score of an answer that was cut.
        baseline: what is taken off a score: nothing, the score of the data's own answer to the prompt ("reference"), or the mean
            reward of the other answers to it ("others": the leave-one-out estimator, arXiv 2402.14740, equation 8).
        critic: shared, a head on the policy's hidden states; or separate, an adapter or a backbone, and a head, of its own
            (`rollouts.critic`).
        critic_lr: peak learning rate of a separate critic; null for the policy's.
        ptx_coef: weight of the mean instruction-tuning loss on the data's own answers, mixed into every step; 0 for none.
        ema_beta: of a moving average of the policy's trained weights (`strategies.ema`); null for none.
    """

    num_rollouts: int = 64
    answers_per_prompt: int = 1
    epochs: int = 4
    response_length: int | list[int] = 48
    temperature: float = 1.0
    kl: Literal["adaptive", "fixed"] = "adaptive"
    kl_coef: float = 0.1
    kl_target: float = 6.0
    kl_horizon: float = 10_000
    target_kl: float | None = None
    gamma: float = 1.0
    lam: float = 0.95
    clip: float = 0.2
    value_clip: float | None = 0.2
    value_coef: float = 0.2
    entropy_coef: float = 0.0
    whiten: bool = True
    reward_scaling: Scaling = "none"
    reward_clip: float | None = 10.0
    missing_eos_penalty: float = 0.0
    baseline: Baseline = "none"
    critic: Literal["shared", "separate"] = "shared"
    critic_lr: float | None = None
    ptx_coef: float = 0.0
    ema_beta: float | None = None

    def __post_init__(self) -> None:
        for name, bounds in NUMBERS.items():
            need_number(f"ppo.{name}", vars(self)[name], **bounds)
        need_truth("ppo.whiten", self.whiten)
        if self.kl not in ("adaptive", "fixed"):
            raise ConfigError(f"ppo.kl={self.kl} is unknown; choose adaptive or fixed.")
        if self.reward_scaling not in get_args(Scaling):
            raise ConfigError(f"ppo.reward_scaling={self.reward_scaling} is unknown; choose one of {', '.join(get_args(Scaling))}.")
        self._check_groups()
        need_range("ppo.response_length", self.response_length if isinstance(self.response_length, list) else [self.response_length] * 2,
                   self.response_length, "a whole number of at least 1, or ")  # fmt: skip
        self._check_recipe()

    def _check_groups(self) -> None:
        if self.baseline not in get_args(Baseline):
            raise ConfigError(f"ppo.baseline={self.baseline} is unknown; choose one of {', '.join(get_args(Baseline))}.")
        if self.baseline == "others" and self.answers_per_prompt < 2:
            raise ConfigError("ppo.baseline=others compares answers to one prompt: set ppo.answers_per_prompt to 2 or more.")
        if self.num_rollouts % self.answers_per_prompt:
            raise ConfigError(
                f"ppo.num_rollouts={self.num_rollouts} must be a multiple of ppo.answers_per_prompt={self.answers_per_prompt}."
            )

    def _check_recipe(self) -> None:
        if self.critic not in ("shared", "separate"):
            raise ConfigError(f"ppo.critic={self.critic} is unknown; choose shared or separate.")
        if self.critic_lr is not None and self.critic == "shared":
            raise ConfigError(
                f"ppo.critic_lr={self.critic_lr} with ppo.critic=shared: a head on the policy's own hidden states has no body to train at "
                "a rate of its own. Use ppo.critic=separate, or ppo.critic_lr=null and ppo.value_coef."
            )

    @property
    def response_lengths(self) -> tuple[int, int]:
        """(least, most) tokens at which an answer is cut."""
        if isinstance(self.response_length, int):
            return self.response_length, self.response_length
        return self.response_length[0], self.response_length[1]

    def controller(self) -> KLController:
        """The coefficient of the KL penalty."""
        return FixedKL(self.kl_coef) if self.kl == "fixed" else AdaptiveKL(self.kl_coef, self.kl_target, self.kl_horizon)


def need_range(name: str, value: object, shown: object, alternative: str = "", ending: str = "") -> None:
    """Raises ConfigError unless `value` is [least, most], whole numbers with 1 <= least <= most.

    Args:
        shown: what the user wrote.
        alternative, ending: what else would do, before and after the rule.
    """
    whole = isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(n, int) and not isinstance(n, bool) for n in value)
    if not whole or not 1 <= value[0] <= value[1]:  # type: ignore[index]
        told = "null" if shown is None else shown
        raise ConfigError(f"{name}={told} must be {alternative}[least, most], whole numbers with 1 <= least <= most{ending}.")
