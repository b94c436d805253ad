"""How PPO learns: one file of `conf/ppo/`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from kinnari.errors import ConfigError
from kinnari.functional.kl_controller import AdaptiveKL, FixedKL, KLController

Scaling = Literal["none", "running", "first"]


@dataclass(frozen=True, kw_only=True)
class PPOSettings:
    """Sources: PPO, arXiv 1707.06347; for language models, arXiv 1909.08593 and 2203.02155; defaults as CarperAI/trlx has them.

    Args:
        num_rollouts: answers of one iteration over all ranks, to different prompts.
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
        baseline: take off the score of the data's own answer to the prompt.
        critic: shared, a head on the policy's hidden states; or separate, an adapter and a head of its own (`rollouts.critic`).
        critic_lr: peak learning rate of a separate critic; null for the policy's.
        ptx_coef: weight of the mean instruction-tuning loss on the data's own answers, mixed into every step; 0 for none.
        ema_beta: of a moving average of the policy's trained weights (`strategies.ema`); null for none.
    """

    num_rollouts: int = 64
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
    baseline: bool = False
    critic: Literal["shared", "separate"] = "shared"
    critic_lr: float | None = None
    ptx_coef: float = 0.0
    ema_beta: float | None = None

    def __post_init__(self) -> None:
        if self.kl not in ("adaptive", "fixed"):
            raise ConfigError(f"ppo.kl={self.kl} is unknown; choose adaptive or fixed.")
        if self.reward_scaling not in get_args(Scaling):
            raise ConfigError(f"ppo.reward_scaling={self.reward_scaling} is unknown; choose one of {', '.join(get_args(Scaling))}.")
        self._above_zero("num_rollouts", "epochs", "temperature", "kl_target", "kl_horizon", "clip", "reward_clip", "value_clip",
                         "target_kl", "critic_lr")  # fmt: skip
        for name in ("kl_coef", "value_coef", "entropy_coef", "missing_eos_penalty", "ptx_coef"):
            if vars(self)[name] < 0:
                raise ConfigError(f"ppo.{name}={vars(self)[name]} must not be negative; 0 turns it off.")
        for name in ("gamma", "lam"):
            if not 0 <= vars(self)[name] <= 1:
                raise ConfigError(f"ppo.{name}={vars(self)[name]} must be in [0, 1]; 1 counts all that follows in full.")
        least, most = self.response_lengths
        if not 1 <= least <= most:
            raise ConfigError(
                f"ppo.response_length={self.response_length} must be a number above 0, or [least, most] with 1 <= least <= most."
            )
        self._check_recipe()

    def _check_recipe(self) -> None:
        if self.critic not in ("shared", "separate"):
            raise ConfigError(f"ppo.critic={self.critic} is unknown; choose shared or separate.")
        if self.critic_lr is not None and self.critic == "shared":
            raise ConfigError(
                f"ppo.critic_lr={self.critic_lr} with ppo.critic=shared: a head on the policy's own hidden states has no body to train at "
                "a rate of its own. Use ppo.critic=separate, or ppo.critic_lr=null and ppo.value_coef."
            )
        if self.ema_beta is not None and not 0 < self.ema_beta < 1:
            raise ConfigError(f"ppo.ema_beta={self.ema_beta} must be between 0 and 1, such as 0.992; null keeps no average.")

    @property
    def response_lengths(self) -> tuple[int, int]:
        """(least, most) tokens at which an answer is cut."""
        if isinstance(self.response_length, int):
            return self.response_length, self.response_length
        lengths = list(self.response_length)
        return (lengths[0], lengths[1]) if len(lengths) == 2 else (0, 0)

    def controller(self) -> KLController:
        """The coefficient of the KL penalty."""
        return FixedKL(self.kl_coef) if self.kl == "fixed" else AdaptiveKL(self.kl_coef, self.kl_target, self.kl_horizon)

    def _above_zero(self, *names: str) -> None:
        for name in names:
            value = vars(self)[name]
            if value is not None and not value > 0:
                raise ConfigError(f"ppo.{name}={value} must be above 0.")
