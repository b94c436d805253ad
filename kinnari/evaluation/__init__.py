"""Scoring models on benchmarks: questions, likelihoods of their candidates, predictions, statistics, judges."""
