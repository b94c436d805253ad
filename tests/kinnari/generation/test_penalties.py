"""Penalties of what was generated, by hand."""

from __future__ import annotations

import torch

from kinnari.generation.penalties import Penalties


def test_presence_counts_once_frequency_each_time_and_the_prompt_not_at_all() -> None:
    ids = torch.tensor([[3, 3, 1, 1, 2]])  # the prompt is 3 3
    scores = Penalties(2, frequency=0.5, presence=0.25)(ids, torch.zeros(1, 5))
    assert scores.tolist() == [[0.0, -1.25, -0.75, 0.0, 0.0]]


def test_biases_are_added_and_those_of_no_token_ignored() -> None:
    scores = Penalties(1, logit_bias={0: 2.0, 9: 1.0, -1: 1.0})(torch.tensor([[1]]), torch.zeros(1, 3))
    assert scores.tolist() == [[2.0, 0.0, 0.0]]
