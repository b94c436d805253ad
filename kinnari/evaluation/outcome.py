"""What came of a benchmark: a row for each question, and numbers with their uncertainty."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

import numpy as np

from kinnari.evaluation.benchmarks import ChoiceBenchmark, ReadingQuestion
from kinnari.evaluation.benchmarks.reading_scores import character_f1, exact_match, legacy_exact_match, legacy_token_f1
from kinnari.evaluation.judging.statistics import interval, resampled_means
from kinnari.evaluation.question import Likelihood, Question
from kinnari.evaluation.scoring import prediction, score, without_prior

Tokenize = Callable[[str], Sequence[int]]


@dataclass(frozen=True)
class Outcome:
    """Of one benchmark.

    Attributes:
        name: of the benchmark.
        metric: the number that stands for it: accuracy or exact_match.
        rows: one for each question, as in examples.jsonl.
        numbers: metric -> value; shares in [0, 1], NaN where nothing was labelled.
        how: what shaped the scores: scoring, prompt, shots and the like.
    """

    name: str
    metric: str
    rows: list[dict[str, Any]]
    numbers: dict[str, float]
    how: dict[str, Any] = field(default_factory=dict)


def choices(
    benchmark: ChoiceBenchmark,
    questions: Sequence[Question],
    likelihoods: Sequence[Sequence[Likelihood]],
    *,
    calibration: str = "none",
    seed: int = 0,
) -> Outcome:
    """Accuracy, and that of each domain where there are several.

    Args:
        benchmark: says how to score.
        questions: its questions.
        likelihoods: of each candidate of each.
        calibration: none | prior, see `without_prior`.
        seed: of the bootstrap.

    Raises:
        ConfigError: scores that are not finite, or a calibration without shared classes.
    """
    scoring = benchmark.chosen_scoring
    scores = [[score(found, scoring) for found in candidates] for candidates in likelihoods]
    if calibration == "prior":
        scores = without_prior(scores, questions)
    chosen = [prediction(values) for values in scores]
    rows = [
        {"benchmark": benchmark.name, "id": q.id, "subject": q.subject, "prompt": shown_prompt(q), "candidates": list(q.texts),
         "scores": values, "scoring": scoring, "prediction": index, "tie": tie, "gold": q.gold}
        for q, values, (index, tie) in zip(questions, scores, chosen, strict=True)
    ]  # fmt: skip
    right = {i: float(chosen[i][0] == q.gold) for i, q in enumerate(questions) if q.gold is not None}
    numbers = sure("accuracy", list(right.values()), seed) | {"majority": benchmark.majority(questions)}
    numbers |= {"n": len(questions), "ties": sum(tie for _, tie in chosen)}
    numbers |= _by_group(questions, right, benchmark.domains)
    how = {"scoring": scoring, "prompt": benchmark.chosen_prompt, "shots": benchmark.shots, "calibration": calibration}
    return Outcome(benchmark.name, "accuracy", rows, numbers, how)


def reading(
    name: str,
    questions: Sequence[ReadingQuestion],
    predictions: Sequence[str],
    majority: float,
    tokenize: Tokenize,
    *,
    shots: int = 0,
    seed: int = 0,
) -> Outcome:
    """Exact match and F1 as CMRC 2018 publishes them, and system R's two beside them.

    Args:
        name: of the benchmark.
        questions: with their right answers.
        predictions: what the model said.
        majority: share of questions that the most frequent answer answers.
        tokenize: token ids without special tokens, of which system R's F1 is made.
        shots: examples in the prompt.
        seed: of the bootstrap.
    """
    measures: dict[str, Callable[[str, Sequence[str]], float]] = {
        "exact_match": exact_match,
        "f1": character_f1,
        "legacy_exact_match": legacy_exact_match,
        "legacy_f1": lambda said, answers: legacy_token_f1(said, answers, tokenize),
    }
    values: list[dict[str, float]] = [
        {measure: of(said, q.answers) for measure, of in measures.items()} if q.answers else {}
        for q, said in zip(questions, predictions, strict=True)
    ]
    rows = [
        {"benchmark": name, "id": q.id, "prompt": q.prompt, "prediction": said, "gold": list(q.answers), **found}
        for q, said, found in zip(questions, predictions, values, strict=True)
    ]
    labelled = [found for found in values if found]
    numbers = sure("exact_match", [found["exact_match"] for found in labelled], seed)
    for measure in measures:
        if measure != "exact_match":
            numbers[measure] = float(np.mean([found[measure] for found in labelled])) if labelled else math.nan
    return Outcome(
        name, "exact_match", rows, numbers | {"majority": majority, "n": len(questions)}, {"scoring": "generated", "shots": shots}
    )


def sure(metric: str, values: Sequence[float], seed: int) -> dict[str, float]:
    """The mean, its standard error (from the sample's variance) and a 95 % percentile interval of 2,000 bootstrap samples."""
    if not values:
        return dict.fromkeys((metric, "stderr", "ci_low", "ci_high"), math.nan)
    found = np.array(values)
    low, high = interval(resampled_means(found[:, None], seed))
    error = found.std(ddof=1) / math.sqrt(len(found)) if len(found) > 1 else math.nan
    return {metric: float(found.mean()), "stderr": float(error), "ci_low": low, "ci_high": high}


def shown_prompt(question: Question) -> str:
    """What stands before the label where that is the same for all candidates, else what all candidates begin with."""
    befores = {candidate.before for candidate in question.candidates}
    if len(befores) == 1:
        return question.header + befores.pop()
    same = takewhile(lambda characters: len(set(characters)) == 1, zip(*question.texts, strict=False))
    return "".join(characters[0] for characters in same)


def _by_group(questions: Sequence[Question], right: Mapping[int, float], domains: Mapping[str, str]) -> dict[str, float]:
    """accuracy/DOMAIN, and subject_mean: each subject counting once."""
    subjects, groups = defaultdict(list), defaultdict(list)
    for i, value in right.items():
        subject = questions[i].subject
        if subject is not None:
            subjects[subject].append(value)
            groups[domains.get(subject, "other")].append(value)
    numbers = {f"accuracy/{name}": float(np.mean(values)) for name, values in sorted(groups.items())} if len(groups) > 1 else {}
    if len(subjects) > 1:
        numbers["subject_mean"] = float(np.mean([np.mean(values) for values in subjects.values()]))
    return numbers
