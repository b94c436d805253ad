"""How likely a model finds texts: every candidate of every question, with what they share computed once."""

from kinnari.evaluation.likelihood.cache import LikelihoodCache
from kinnari.evaluation.likelihood.ranks import score_over_ranks
from kinnari.evaluation.likelihood.scorer import LikelihoodScorer

__all__ = ["LikelihoodCache", "LikelihoodScorer", "score_over_ranks"]
