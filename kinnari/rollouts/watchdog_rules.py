"""What goes wrong in PPO, and how it shows in the numbers of its iterations: one function a fault, each a sentence or nothing.

A rule compares means over the last `window` iterations with means over the `first` ones, or with a fixed limit. As long as there are too
few iterations those means are NaN, which is neither above nor below anything: a rule that does not know is silent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kinnari.errors import ConfigError
from kinnari.rollouts.settings import PPOSettings

# Largest |ratio - 1| that rounding alone makes. Two forwards of one row in unlike batches differ by a few units of the last place of
# the logits: 24 bits in float32, 11 in float16 and TF32, 8 in bfloat16.
RATIO_ERRORS = {"32": 1e-3, "16": 5e-2, "bf16": 0.3}
STANDARD_ERRORS = 3.0  # from 0, beyond which a mean is no chance


@dataclass(frozen=True, kw_only=True)
class WatchdogLimits:
    """From where on a number is a fault.

    Args:
        first: iterations at the start of the run, whose mean later ones are compared with.
        window: iterations whose mean is judged, so that one odd iteration is no fault.
        negative_kl: nats an answer below 0.
        ratio_error: |ratio - 1| of any token at the first minibatch; None: by precision, see RATIO_ERRORS.
        entropy: share of the first iterations' entropy.
        eos_rate: share of answers that end, at or below which the policy never ends.
        eos_fall: share of the first iterations' eos_rate.
        length_drift: times longer or shorter than in the first iterations.
        value_patience: iterations in a row in which the values explain nothing.
        clip_fraction: share of tokens whose ratio is clipped.
        kl_runaway: times ppo.kl_target, where ppo.kl=adaptive.
        kl_per_token: nats, where ppo.kl=fixed.
        score_rise: by how many standard deviations of the first answers' scores they have risen, when the signs of reward hacking count.
        longer: times the first length, while the score rises.
        distinct: share of the first iterations' share of distinct 3-grams, while the score rises.
        same_answer: share of the prompts that get the same answer.

    Raises:
        ConfigError: a limit that nothing or everything would be beyond.
    """

    first: int = 3
    window: int = 3
    negative_kl: float = 0.05
    ratio_error: float | None = None
    entropy: float = 0.2
    eos_rate: float = 0.05
    eos_fall: float = 0.3
    length_drift: float = 2.0
    value_patience: int = 10
    clip_fraction: float = 0.3
    kl_runaway: float = 3.0
    kl_per_token: float = 1.0
    score_rise: float = 0.5
    longer: float = 1.5
    distinct: float = 0.8
    same_answer: float = 0.5

    def __post_init__(self) -> None:
        for name in ("first", "window", "value_patience"):
            if vars(self)[name] != int(vars(self)[name]) or vars(self)[name] < 1:
                raise ConfigError(f"watchdogs.limits.{name}={vars(self)[name]} must be a whole number of iterations, 1 or more.")
        for name in ("length_drift", "longer", "kl_runaway"):
            if not vars(self)[name] > 1:
                raise ConfigError(f"watchdogs.limits.{name}={vars(self)[name]} must be above 1: it is a multiple of what is wanted.")
        for name in ("entropy", "eos_fall", "clip_fraction", "distinct", "same_answer"):
            if not 0 < vars(self)[name] < 1:
                raise ConfigError(f"watchdogs.limits.{name}={vars(self)[name]} must be between 0 and 1: it is a share.")
        for name in ("negative_kl", "kl_per_token", "score_rise", "ratio_error", "eos_rate"):
            if vars(self)[name] is not None and not vars(self)[name] >= 0:
                raise ConfigError(f"watchdogs.limits.{name}={vars(self)[name]} must not be negative.")


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a rule may look at.

    Attributes:
        first, recent: numbers of the first iterations and of the last, the newest last; names as in `kinnari.rollouts.watchdogs.measured`.
        precision: 32-true, bf16-mixed, ... ; "16-mixed" too where float32 products are computed in TF32.
    """

    first: Sequence[Mapping[str, float]]
    recent: Sequence[Mapping[str, float]]
    limits: WatchdogLimits = field(default_factory=WatchdogLimits)
    ppo: PPOSettings = field(default_factory=PPOSettings)
    precision: str = "32-true"

    def last(self, name: str, count: int | None = None) -> list[float]:
        """Of the last `count` iterations (None: of the window); empty while there are fewer."""
        count = count or self.limits.window
        return [row[name] for row in self.recent[-count:]] if len(self.recent) >= count else []

    def now(self, name: str) -> float:
        """Mean over the window."""
        return _mean(self.last(name))

    def then(self, name: str) -> float:
        """Mean over the first iterations."""
        return _mean([row[name] for row in self.first]) if len(self.first) >= self.limits.first else math.nan

    def rise(self) -> float:
        """Of the score since the first iterations, in standard deviations of their answers' scores."""
        return (self.now("score") - self.then("score")) / max(self.then("score_std"), 1e-9)

    def score_rose(self) -> str:
        """The same in words, empty where it did not rise enough."""
        if not self.rise() > self.limits.score_rise:
            return ""
        return f"the score rose from {self.then('score'):.3g} to {self.now('score'):.3g}"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def ratio_limit(seen: Seen) -> float:
    """Largest |ratio - 1| of unchanged weights."""
    if seen.limits.ratio_error is not None:
        return seen.limits.ratio_error
    return RATIO_ERRORS[seen.precision.removesuffix("-true").removesuffix("-mixed")]


def negative_kl(seen: Seen) -> str | None:
    """k1 may be negative by chance, its mean over many answers drawn from the policy may not."""
    kl, errors = seen.now("kl"), seen.last("kl_error")
    error = math.sqrt(sum(e * e for e in errors)) / max(1, len(errors))
    if not kl < -max(seen.limits.negative_kl, STANDARD_ERRORS * error):
        return None
    return (
        f"KL to the reference is {kl:.3g} ± {error:.2g} nats an answer (k3: {seen.now('kl_k3'):.3g}), mean of {len(errors)} iterations; "
        "the KL of answers that were drawn from the policy cannot be below 0, so their log-probabilities are not those they were drawn "
        "with. Look for top_k, top_p or min_length in sampling, another temperature than ppo.temperature, an end token that is forced or "
        "left out; trainer.precision=32-true rules out rounding."
    )


def ratio_not_1(seen: Seen) -> str | None:
    """At the first minibatch of an iteration the weights are those that answered."""
    error, limit = seen.recent[-1]["first_ratio_error"], ratio_limit(seen)
    if not error > limit:
        return None
    return (
        f"|ratio - 1| is {error:.3g} at the first minibatch, with the weights that answered; rounding explains {limit:g} at "
        f"{seen.precision}. The same tokens got two log-probabilities: dropout is on, padding or the cache changes the result, or the "
        "weights are not the same. Compare with batch.micro_size=1 (no padding), model.attention=eager and trainer.precision=32-true."
    )


def entropy_collapse(seen: Seen) -> str | None:
    """Nothing is tried any more, so nothing is learnt any more."""
    now, then = seen.now("entropy"), seen.then("entropy")
    if not now < seen.limits.entropy * then:
        return None
    return (
        f"entropy is {now:.3g} nats a token, {now / then:.0%} of the {then:.3g} at first: the policy hardly tries anything but one answer, "
        "and rewards have nothing left to choose from. Lower optimizer.lr or ppo.epochs; raise ppo.kl_coef or ppo.entropy_coef."
    )


def answers_never_end(seen: Seen) -> str | None:
    """Every answer is cut: the reward sees halves, the policy no end."""
    now = seen.now("eos_rate")
    if not now <= seen.limits.eos_rate:
        return None
    return (
        f"{now:.0%} of the answers end before they are cut at ppo.response_length={seen.ppo.response_length} (mean length "
        f"{seen.now('response_tokens'):.0f} tokens): halves are scored, and ends are never learnt. Raise ppo.response_length; set "
        "ppo.missing_eos_penalty; begin with a model that task=sft has taught to end."
    )


def eos_rate_falls(seen: Seen) -> str | None:
    """The policy unlearns to end."""
    now, then = seen.now("eos_rate"), seen.then("eos_rate")
    if not now < seen.limits.eos_fall * then:
        return None
    return (
        f"{now:.0%} of the answers end, {then:.0%} did at first: the reward pays for going on, or the end token is never trained. Set "
        "ppo.missing_eos_penalty, raise ppo.kl_coef, or look whether the reward grows with length."
    )


def length_drift(seen: Seen) -> str | None:
    """Answers much longer or shorter than at first."""
    now, then = seen.now("response_tokens"), seen.then("response_tokens")
    if not (now > seen.limits.length_drift * then or now * seen.limits.length_drift < then):
        return None
    way = "longer" if now > then else "shorter"
    return (
        f"answers have {now:.1f} tokens, {then:.1f} at first: the reward prefers {way} ones, whatever they say. Raise ppo.kl_coef, or make "
        "the reward independent of length (task=reward reports the correlation of score and length)."
    )


def values_explain_nothing(seen: Seen) -> str | None:
    """The value head is no better than a constant."""
    found = seen.last("explained_variance", seen.limits.value_patience)
    if not found or not max(found) <= 0:
        return None
    clip = seen.ppo.value_clip
    return (
        f"explained variance of the values is at most {max(found):.3g} in {len(found)} iterations: advantages are as noisy as without a "
        f"critic. Raise ppo.value_coef (now {seen.ppo.value_coef:g}) or optimizer.lr; with large scores set ppo.reward_scaling=running, or "
        f"raise ppo.value_clip (now {clip}), which bounds how far a value moves in an iteration."
    )


def clipped_too_often(seen: Seen) -> str | None:
    """Most of what is learnt is thrown away."""
    now = seen.now("clip_fraction")
    if not now > seen.limits.clip_fraction:
        return None
    return (
        f"{now:.0%} of the tokens have their ratio clipped at {seen.ppo.clip:g} (KL to the rollouts' policy {seen.now('approx_kl'):.3g} "
        "nats a token): the steps of an iteration go too far. Lower optimizer.lr or ppo.epochs, raise batch.global_size, or stop early by "
        "ppo.target_kl."
    )


def kl_runaway(seen: Seen) -> str | None:
    """The policy leaves its reference."""
    now, adaptive = seen.now("kl"), seen.ppo.kl == "adaptive"
    limit = seen.limits.kl_runaway * seen.ppo.kl_target if adaptive else seen.limits.kl_per_token * seen.now("response_tokens")
    if not now > limit:
        return None
    remedy = "lower ppo.kl_horizon, which lets the coefficient follow faster" if adaptive else "use ppo.kl=adaptive"
    return (
        f"KL to the reference is {now:.3g} nats an answer, over {limit:.3g} (ppo.kl={seen.ppo.kl}, coefficient {seen.now('kl_coef'):.3g}): "
        f"the penalty does not hold the policy, and its language goes next. Raise ppo.kl_coef, lower optimizer.lr, or {remedy}."
    )


def no_signal(seen: Seen) -> str | None:
    """All answers are worth the same."""
    spread, scores = seen.last("score_std"), seen.last("score")
    if not spread or not all(std <= 1e-6 * max(1.0, abs(score)) for std, score in zip(spread, scores, strict=True)):
        return None
    return (
        f"all answers of {len(spread)} iterations score {scores[-1]:.4g}: the reward tells none from another, so that only KL and noise "
        "are learnt. Look at rollouts.jsonl: either the task is solved, or the reward does not see the answers (ppo.reward, its pattern or "
        "model), or ppo.response_length cuts them before what it looks for."
    )


def longer_for_reward(seen: Seen) -> str | None:
    """Reward hacking by length."""
    now, then, rose = seen.now("response_tokens"), seen.then("response_tokens"), seen.score_rose()
    if not rose or not now > seen.limits.longer * then:
        return None
    return (
        f"{rose} while answers grew from {then:.1f} to {now:.1f} tokens: the reward may be paying for length. Compare answers in "
        "rollouts.jsonl; raise ppo.kl_coef, or correct the reward for length."
    )


def repeating_for_reward(seen: Seen) -> str | None:
    """Reward hacking by repetition."""
    now, then, rose = seen.now("distinct"), seen.then("distinct"), seen.score_rose()
    if not rose or not now < seen.limits.distinct * then:
        return None
    return (
        f"{rose} while the share of distinct 3-grams within answers fell from {then:.0%} to {now:.0%}: the reward may be paying for "
        "repetition. Compare answers in rollouts.jsonl; raise ppo.kl_coef, or let the reward take points off for repeating."
    )


def same_answer(seen: Seen) -> str | None:
    """One answer for everything."""
    now, then = seen.now("same_answer"), seen.then("same_answer")
    if not now > max(seen.limits.same_answer, 2 * then):
        return None
    return (
        f"{now:.0%} of the prompts get the same answer, {then:.0%} did at first ({seen.score_rose() or 'the score did not rise'}): the "
        "reward may not read the question. Score prompt and answer together (reward.input=conversation), raise ppo.kl_coef, or lower "
        "optimizer.lr."
    )


RULES: dict[str, Callable[[Seen], str | None]] = {
    rule.__name__: rule
    for rule in (
        negative_kl, ratio_not_1, entropy_collapse, answers_never_end, eos_rate_falls, length_drift, values_explain_nothing,
        clipped_too_often, kl_runaway, no_signal, longer_for_reward, repeating_for_reward, same_answer,
    )
}  # fmt: skip


def check_names(names: Sequence[Any]) -> None:
    """Raises ConfigError for a name that is no rule's."""
    unknown = [name for name in names if name not in RULES]
    if unknown:
        raise ConfigError(f"watchdogs.stop_on={unknown[0]} is unknown; choose from {', '.join(RULES)}.")
