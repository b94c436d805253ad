"""Likelihoods -> scores -> predictions.

label               sum of log p(label's tokens)
sequence            sum of log p(every token of the text)
length_normalised   mean of log p from the label's first token to the end
pmi                 log p from the label to the end, less log p(label | premise alone)      Holtzman et al. 2021, arXiv:2104.08315
legacy              minus the logarithm of system R's perplexity, in which each position predicts itself
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from scipy.special import log_softmax, logsumexp

from kinnari.errors import ConfigError
from kinnari.evaluation.question import Likelihood, Question

# what `LikelihoodScorer` has to compute for each
WANTED: dict[str, tuple[str, ...]] = {
    "label": ("label",),
    "sequence": ("sequence",),
    "length_normalised": ("continuation",),
    "pmi": ("continuation", "unconditional"),
    "legacy": ("legacy",),
}


def score(found: Likelihood, scoring: str) -> float:
    """One candidate's score in nats; the highest of a question is the prediction."""
    parts = {name: getattr(found, name) for name in WANTED[scoring]}
    assert None not in parts.values(), f"{scoring} needs {', '.join(WANTED[scoring])}"
    if scoring == "length_normalised":
        return float(parts["continuation"] / found.continuation_tokens)
    if scoring == "pmi":
        return float(parts["continuation"] - parts["unconditional"])
    return float(parts[scoring])


def prediction(scores: Sequence[float]) -> tuple[int, bool]:
    """The index of the highest score, the first of equals; and whether there were equals.

    Raises:
        ConfigError: a score is not finite.
    """
    if not np.isfinite(scores).all():
        raise ConfigError(
            "The model gives log-probabilities that are no finite numbers. Half precision may overflow: try trainer.precision=32-true, or "
            "bf16-true where the device has it."
        )
    best = max(scores)
    return list(scores).index(best), sum(value == best for value in scores) > 1


def without_prior(scores: Sequence[Sequence[float]], questions: Sequence[Question]) -> list[list[float]]:
    """Scores less the logarithm of the mean probability that their class gets over all questions in which it can be chosen.

    A model that likes one label whatever is asked loses that liking. It looks at all questions, but at no answer. As the calibration by
    the mean over a batch in Zhou et al. 2023, arXiv:2309.17249.

    Raises:
        ConfigError: the questions do not share their classes.
    """
    if any(question.labels is None for question in questions):
        raise ConfigError(
            "benchmark.calibration=prior takes the mean probability of a class over all questions, and here every question has "
            "candidates of its own. Set benchmark.calibration=none."
        )
    of_class: dict[str, list[float]] = defaultdict(list)
    for values, question in zip(scores, questions, strict=True):
        for name, value in zip(question.labels or (), log_softmax(np.array(values)), strict=True):
            of_class[name].append(float(value))
    prior = {name: float(logsumexp(values)) - math.log(len(values)) for name, values in of_class.items()}
    return [
        [value - prior[name] for name, value in zip(question.labels or (), values, strict=True)]
        for values, question in zip(scores, questions, strict=True)
    ]
