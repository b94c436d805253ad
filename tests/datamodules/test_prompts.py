"""Prompts for rollouts."""

import pytest

from datamodules.prompts import PromptDataset
from kinnari.text.prompts import Prompt

PROMPTS = [Prompt((), [i], f"r:{i}", "") for i in range(7)]


@pytest.mark.parametrize("world_size", [1, 2])
def test_every_prompt_is_asked_once_before_any_is_asked_again(world_size):
    ranks = [PromptDataset(PROMPTS, 4, seed=1, rank=rank, world_size=world_size) for rank in range(world_size)]
    asked = [
        p.token_ids[0] for iteration in range(7) for place in range(4 // world_size) for p in [r[iteration].prompts[place] for r in ranks]
    ]

    assert all(sorted(asked[i : i + 7]) == list(range(7)) for i in range(0, 28, 7))
    assert asked[:7] != asked[7:14]


def test_ranks_have_shares_of_the_same_iteration():
    whole = PromptDataset(PROMPTS, 4, seed=1, rank=0, world_size=1)
    halves = [PromptDataset(PROMPTS, 4, seed=1, rank=rank, world_size=2) for rank in (0, 1)]

    assert [p.record_id for p in whole[3].prompts][0::2] == [p.record_id for p in halves[0][3].prompts]
    assert [p.record_id for p in whole[3].prompts][1::2] == [p.record_id for p in halves[1][3].prompts]
