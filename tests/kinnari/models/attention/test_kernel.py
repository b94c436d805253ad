"""The kernel against attention written from its equations, and its dropout against what dropout is."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from kinnari.models.attention import kernel
from kinnari.models.attention.kernel import attend
from kinnari.models.packing import block_diagonal_mask
from tests.kinnari.models.attention.toys import slow_attention

LAYER = nn.Identity()  # stands for the layer that asks


def inputs(queries: int, keys: int, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, 3, n, 4, generator=generator, dtype=torch.float64, requires_grad=True) for n in (queries, keys, keys)]


def outcome(query, key, value, mask, dropout: float = 0.0) -> list[torch.Tensor]:
    result = attend(LAYER, query, key, value, mask, dropout=dropout, scaling=0.5)
    return [result, *torch.autograd.grad(result.square().sum(), (query, key, value))]


def test_causal_attention_is_the_equation():
    query, key, value = inputs(7, 7)
    expected = slow_attention(query.detach(), key.detach(), value.detach(), [0.0] * 3, lambda b, i, j: j <= i)
    assert (attend(LAYER, query, key, value, None, dropout=0.0, scaling=0.5) - expected.transpose(1, 2)).abs().max() < 1e-12


def test_a_mask_decides_what_is_seen_and_nothing_seen_gives_zeros():
    query, key, value = inputs(4, 6)
    mask = torch.rand(2, 1, 4, 6, generator=torch.Generator().manual_seed(3)) < 0.5
    mask[1, 0, 2] = False
    expected = slow_attention(query.detach(), key.detach(), value.detach(), [0.0] * 3, lambda b, i, j: bool(mask[b, 0, i, j]))
    found = attend(LAYER, query, key, value, mask, dropout=0.0, scaling=0.5)
    assert (found - expected.transpose(1, 2)).abs().max() < 1e-12
    assert torch.equal(found[1, 2], torch.zeros(3, 4))


@settings(deadline=None, max_examples=30)
@given(
    length=st.integers(1, 23),
    block=st.integers(1, 9),
    cuts=st.sets(st.integers(1, 22), max_size=4),
    form=st.sampled_from(["causal", "boolean", "additive"]),
    dropout=st.sampled_from([0.0, 1e-300]),  # so small that nothing is dropped
    seed=st.integers(0, 99),
)
def test_blocks_of_queries_give_what_one_piece_gives(length, block, cuts, form, dropout, seed):
    query, key, value = inputs(length, length, seed)
    segments = torch.tensor([[sum(i >= cut for cut in cuts) for i in range(length)], [0] * length])
    mask = block_diagonal_mask(segments)
    mask[1, 0, :, : min(2, length - 1)] = False  # padding on the left: queries that see nothing
    if form == "additive":
        mask = torch.zeros(mask.shape, dtype=torch.float64).masked_fill(~mask, -1e300)
    mask = None if form == "causal" else mask
    whole = outcome(query, key, value, mask)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "BLOCK", block)
        parts = outcome(query, key, value, mask, dropout=dropout)
    seen = slice(None) if form != "additive" else slice(min(2, length - 1), None)  # a row of -1e300 alone is a mean of what it cannot see
    assert torch.allclose(whole[0][:, seen], parts[0][:, seen], atol=1e-12)
    if form != "additive":
        assert all(torch.allclose(a, b, atol=1e-10) for a, b in zip(whole, parts, strict=True))


def test_dropout_drops_weights_at_its_rate_and_keeps_their_mean():
    torch.manual_seed(0)
    query, key = torch.zeros(1, 1, 400, 8), torch.zeros(1, 1, 400, 8)  # all keys weigh the same: 1 / number of keys seen
    value = torch.eye(400)[None, None].expand(1, 1, 400, 400)[..., :8]
    mask = torch.ones(1, 1, 400, 400, dtype=torch.bool)
    found = attend(LAYER, query, key, value, mask, dropout=0.25, scaling=1.0)[0, :, 0] * 400
    assert set(found.flatten().double().round(decimals=3).tolist()) == {0.0, 1.333}, "dropped, or scaled by 1 / 0.75"
    assert abs((found == 0).float().mean().item() - 0.25) < 0.02  # 3,200 draws: standard deviation 0.0077


def test_the_backward_pass_drops_what_the_forward_pass_dropped():
    torch.manual_seed(0)
    query, key = torch.zeros(1, 1, 300, 8), torch.zeros(1, 1, 300, 8)
    value = torch.rand(1, 1, 300, 8, requires_grad=True)
    mask = torch.ones(1, 1, 300, 300, dtype=torch.bool)
    found = attend(LAYER, query, key, value, mask, dropout=0.5, scaling=1.0)
    torch.rand(1000)  # the generator moves on
    found.sum().backward()
    # the output is linear in value: its sum equals value times its own gradient only if both saw the same weights
    assert torch.allclose(found.sum(), (value * value.grad).sum(), rtol=1e-4)
