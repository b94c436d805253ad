"""Where a row's score is read."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kinnari.functional.pooling import at_last_token, last_token, mean_over_tokens


@pytest.mark.parametrize(("mask", "place"), [([1, 1, 1, 0], 2), ([0, 1, 1, 1], 3), ([0, 0, 1, 0], 2), ([1, 1, 1, 1], 3)])
def test_the_last_real_token_is_found_under_padding_on_either_side(mask, place):
    assert last_token(torch.tensor([mask])).tolist() == [place]


def test_values_of_the_last_tokens_and_means_by_hand():
    values = torch.tensor([[1.0, 2.0, 6.0, 100.0], [100.0, 4.0, 5.0, 6.0]])
    mask = torch.tensor([[1, 1, 1, 0], [0, 1, 1, 1]])

    assert at_last_token(values, mask).tolist() == [6.0, 6.0]
    assert mean_over_tokens(values, mask).tolist() == [3.0, 5.0]


@given(length=st.integers(1, 9), left=st.integers(0, 5), right=st.integers(0, 5), seed=st.integers(0, 99))
def test_padding_changes_no_score(length, left, right, seed):
    row = torch.randn(1, length, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    padded = torch.nn.functional.pad(row, (left, right), value=1e6)
    mask = torch.nn.functional.pad(torch.ones(1, length, dtype=torch.bool), (left, right), value=False)

    for pool in (at_last_token, mean_over_tokens):
        torch.testing.assert_close(pool(padded, mask), pool(row, torch.ones(1, length, dtype=torch.long)))
