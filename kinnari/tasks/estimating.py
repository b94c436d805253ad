"""Estimates for a task: rows as the data would be laid out for each layout that is asked about, and no word from the models on the way."""

from __future__ import annotations

import dataclasses
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from kinnari.planning.estimate import estimate
from kinnari.planning.request import Estimate, PlanRequest
from kinnari.tasks.plan_tokens import DataTokens


class Estimator:
    """`estimate`, given to searches over requests.

    Args:
        tokens: of the data; None leaves the rows of each request as they are.
    """

    def __init__(self, tokens: DataTokens | None) -> None:
        self.tokens = tokens

    def __call__(self, request: PlanRequest) -> Estimate:
        """Raises ConfigError as `estimate`."""
        if self.tokens is not None:
            request = dataclasses.replace(request, rows=self.tokens.rows(request.micro_size, request.hardware.world_size))
        with _quiet():
            return estimate(request)


@contextmanager
def _quiet() -> Iterator[None]:
    """Models of few blocks are built and tuned, which would be told as if they were those of the run."""
    logger = logging.getLogger("kinnari")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
