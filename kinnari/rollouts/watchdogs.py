"""Watches the iterations of PPO: measures the answers, asks every rule, and reports each fault once when it begins."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from kinnari.functional.rl_losses import token_kl
from kinnari.rollouts.rollout import Rollout
from kinnari.rollouts.settings import PPOSettings
from kinnari.rollouts.watchdog_rules import RULES, Seen, WatchdogLimits
from kinnari.strategies.microbatches import gather_objects

N = 3  # of the n-grams whose repetition is counted
KEPT = (
    "score", "response_tokens", "eos_rate", "kl", "kl_k3", "kl_coef", "explained_variance", "entropy", "clip_fraction", "approx_kl",
    "first_ratio_error",
)  # fmt: skip


class AnswerFacts(NamedTuple):
    """What the rules need of one answer, small enough to be gathered from all ranks."""

    text: str
    score: float
    kl: float
    """k1 to the reference, nats."""
    distinct: int
    """Different 3-grams of tokens."""
    grams: int
    """All 3-grams of tokens."""


def facts_of(rollout: Rollout) -> AnswerFacts:
    """Of one rollout whose log-probabilities are known."""
    ids = rollout.token_ids
    grams = list(zip(*(ids[i:] for i in range(N)), strict=False))
    kl = token_kl(rollout.numbers["logprobs"], rollout.numbers["ref_logprobs"], "k1").sum()
    return AnswerFacts(rollout.text.strip(), rollout.score, float(kl), len(set(grams)), len(grams))


def measured(metrics: Mapping[str, float], rollouts: Sequence[Rollout]) -> dict[str, float]:
    """The numbers of one iteration that the rules read, the same on all ranks. Collective.

    Args:
        metrics: of `PPOModule.metrics`.
        rollouts: of this rank.

    Returns:
        KEPT of the metrics, and over the answers of all ranks: score_std (NaN for one answer); kl_error, the standard error of the mean
        KL; distinct, the share of 3-grams that are the first of their kind in their answer (NaN where all answers are shorter);
        same_answer, the share of the commonest answer.
    """
    facts = [fact for part in gather_objects([facts_of(r) for r in rollouts]) for fact in part]
    grams = sum(fact.grams for fact in facts)
    scores, kls = (torch.tensor(column, dtype=torch.float64) for column in ([f.score for f in facts], [f.kl for f in facts]))
    return {
        **{name: float(metrics[name]) for name in KEPT},
        "score_std": float(scores.std(correction=0)) if len(facts) > 1 else math.nan,
        "kl_error": float(kls.std(correction=1)) / math.sqrt(len(facts)) if len(facts) > 1 else math.inf,
        "distinct": sum(fact.distinct for fact in facts) / grams if grams else math.nan,
        "same_answer": max(Counter(fact.text for fact in facts).values()) / len(facts),
    }


class RunWatch:
    """The rules over a whole run.

    A fault is reported at its onset. It has ended, and may be reported again, once its rule was silent for `limits.window` iterations.

    Args:
        limits: from where on a number is a fault.
        ppo: settings of the run, which rules judge by and name.
        precision: of the run, see `Seen`.
    """

    def __init__(self, limits: WatchdogLimits, ppo: PPOSettings | None = None, precision: str = "32-true") -> None:
        self.limits, self.ppo, self.precision = limits, ppo or PPOSettings(), precision
        self.first: list[dict[str, float]] = []
        self.recent: list[dict[str, float]] = []
        self.silent: dict[str, int] = {}  # iterations without it, of every fault that has not ended
        self.findings: list[dict[str, Any]] = []

    def look(self, iteration: int, numbers: Mapping[str, float]) -> list[dict[str, Any]]:
        """Take in the numbers of an iteration; returns the faults that begin with it: {iteration, name, message}."""
        if len(self.first) < self.limits.first:
            self.first.append(dict(numbers))
        self.recent = [*self.recent, dict(numbers)][-max(self.limits.window, self.limits.value_patience) :]
        seen = Seen(first=self.first, recent=self.recent, limits=self.limits, ppo=self.ppo, precision=self.precision)
        begun = [finding for name in RULES if (finding := self._ask(name, seen, iteration)) is not None]
        self.findings += begun
        return begun

    def _ask(self, name: str, seen: Seen, iteration: int) -> dict[str, Any] | None:
        message = RULES[name](seen)
        if message is None:
            if self.silent.get(name, -1) >= 0:
                self.silent[name] += 1
                if self.silent[name] >= self.limits.window:
                    del self.silent[name]
            return None
        known, self.silent[name] = name in self.silent, 0
        return None if known else {"iteration": iteration, "name": name, "message": message}

    def state_dict(self) -> dict[str, Any]:
        return {"first": self.first, "recent": self.recent, "silent": self.silent, "findings": self.findings}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.first, self.recent = ([dict(row) for row in state[key]] for key in ("first", "recent"))
        self.silent = dict(state["silent"])
        self.findings = [dict(finding) for finding in state["findings"]]
