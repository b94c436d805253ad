"""Questions split over ranks, and every rank has all the answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch.distributed as dist

from kinnari.errors import ConfigError
from kinnari.evaluation.likelihood.scorer import LikelihoodScorer
from kinnari.evaluation.question import Likelihood, Question
from kinnari.strategies.microbatches import gather_objects


def score_over_ranks(
    scorer: LikelihoodScorer, questions: Sequence[Question], on_progress: Callable[[int], None] = lambda done: None
) -> list[list[Likelihood]]:
    """`scorer.score`, each rank a part. Collective; the same as on one rank, up to rounding.

    Where weights are sharded (FSDP2, ZeRO-3) every forward is a collective of its own: there each rank scores everything, together.

    Args:
        on_progress: told how many of all questions are finished, as far as this rank can tell.

    Raises:
        ConfigError: as `scorer.score`, on every rank when on one.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1 or scorer.sharded:
        return scorer.score(questions, on_progress)
    parts = split(questions, dist.get_world_size())
    mine = [questions[i] for i in parts[dist.get_rank()]]
    answers: list[list[Likelihood]] = []
    problem = ""
    try:
        answers = scorer.score(mine, lambda done: on_progress(done * len(questions) // max(1, len(mine))))
    except ConfigError as error:
        problem = str(error)  # the others wait to hear from this rank
    gathered = gather_objects((answers, problem, scorer.cut))
    for _, said, _ in gathered:
        if said:
            raise ConfigError(said)
    scorer.cut = (sum(cut[0] for _, _, cut in gathered), sum(cut[1] for _, _, cut in gathered))
    ordered: list[list[Likelihood]] = [[] for _ in questions]
    for part, (found, _, _) in zip(parts, gathered, strict=True):
        for i, likelihoods in zip(part, found, strict=True):
            ordered[i] = likelihoods
    on_progress(len(questions))
    return ordered


def split(questions: Sequence[Question], ranks: int) -> list[list[int]]:
    """Indices of questions for each rank: about equal numbers of characters, and those with one header as close together as can be."""
    first: dict[str, int] = {}
    for i, question in enumerate(questions):
        first.setdefault(question.header, i)
    order = sorted(range(len(questions)), key=lambda i: first[questions[i].header])
    weights = np.array([1 + sum(len(candidate.text) for candidate in questions[i].candidates) for i in order], dtype=np.float64)
    middles = np.cumsum(weights) - weights / 2
    rank = np.minimum((middles / weights.sum() * ranks).astype(int), ranks - 1) if len(order) else np.zeros(0, int)
    return [[i for i, owner in zip(order, rank, strict=True) if owner == r] for r in range(ranks)]
