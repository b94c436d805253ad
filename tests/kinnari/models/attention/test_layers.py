"""One attention layer of each family against the equations in float64; what ALiBi's columns hold."""

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kinnari.models.attention.bloom import QUERY, alibi_slopes, bias_columns, key_positions, packed_alibi
from kinnari.models.packing import block_diagonal_mask
from tests.kinnari.models.attention.toys import pair, paper_slopes, slow_attention

LENGTH = 9
SEGMENTS = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, 0, 2, 2]])
LEFT = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1, 1], [1] * 9])


def masks(kind: str):
    """(mask that the layer gets, positions that Bloom's layer gets, what the equations say is seen)"""
    arange = torch.arange(LENGTH)
    if kind == "causal":
        return None, torch.zeros(2, 1, LENGTH), lambda b, i, j: j <= i
    if kind == "packed":
        mask = block_diagonal_mask(SEGMENTS)
        return mask, key_positions(mask), lambda b, i, j: j <= i and SEGMENTS[b, i] == SEGMENTS[b, j]
    mask = (arange <= arange[:, None]) & LEFT[:, None, None].bool()
    return mask, key_positions(LEFT), lambda b, i, j: j <= i and bool(LEFT[b, j])


def split_heads(states: torch.Tensor, heads: int) -> torch.Tensor:
    return states.view(2, LENGTH, heads, -1).transpose(1, 2)


@pytest.mark.parametrize("kind", ["causal", "packed", "left"])
def test_xglms_layer_is_the_equation(kind):
    layer = copy.deepcopy(pair("xglm")[1].model.layers[0].self_attn).double()
    hidden = torch.randn(2, LENGTH, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mask, _, sees = masks(kind)
    with torch.no_grad():
        query, key, value = (split_heads(hidden @ p.weight.T + p.bias, 4) for p in (layer.q_proj, layer.k_proj, layer.v_proj))
        context = slow_attention(query, key, value, [0.0] * 4, sees).transpose(1, 2).reshape(2, LENGTH, 32)
        expected = context @ layer.out_proj.weight.T + layer.out_proj.bias
        found, weights = layer(hidden, attention_mask=mask)
    assert weights is None and (found - expected).abs().max() < 1e-12


@pytest.mark.parametrize("kind", ["causal", "packed", "left"])
@pytest.mark.parametrize("heads", [1, 3, 4, 6, 12])
def test_blooms_layer_is_the_equation_with_alibi(kind, heads):
    width = 4 * heads
    layer = copy.deepcopy(pair("bloom", hidden_size=width, n_head=heads)[1].transformer.h[0].self_attention).double()
    generator = torch.Generator().manual_seed(0)
    hidden, residual = (torch.randn(2, LENGTH, width, dtype=torch.float64, generator=generator) for _ in range(2))
    mask, positions, sees = masks(kind)
    with torch.no_grad():
        fused = (hidden @ layer.query_key_value.weight.T + layer.query_key_value.bias).view(2, LENGTH, heads, 3, 4)
        query, key, value = (fused[..., part, :].transpose(1, 2) for part in range(3))
        context = slow_attention(query, key, value, paper_slopes(heads), sees).transpose(1, 2).reshape(2, LENGTH, width)
        expected = residual + context @ layer.dense.weight.T + layer.dense.bias
        found, weights = layer(hidden, residual, positions, mask)
    assert weights is None
    assert (found - expected).abs().max() < 1e-6, "slopes are float32"


@pytest.mark.parametrize("heads", [1, 2, 4, 8, 16, 32, 3, 6, 12, 20, 112])
def test_slopes_are_the_papers(heads):
    assert torch.allclose(alibi_slopes(heads, torch.device("cpu")), torch.tensor(paper_slopes(heads)), rtol=1e-5)


def test_slopes_of_eight_heads_are_halves():
    assert alibi_slopes(8, torch.device("cpu")).tolist() == [2.0**-n for n in range(1, 9)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("head_dim", [64, 80, 128, 5])
def test_columns_tell_neighbours_apart_at_every_distance(dtype, head_dim):
    """At position 20,000 one bfloat16 number is 128 wide; the sum of three is the float32 number."""
    positions = torch.tensor([[0, 1, 255, 256, 257, 2047, 2048, 19_999, 20_000]])
    scaling = 1 / math.sqrt(head_dim)
    columns = bias_columns(positions, torch.tensor(paper_slopes(12)), scaling, head_dim, dtype)
    assert (head_dim + columns.shape[-1]) % 8 == 0 and columns.isfinite().all()
    bias = columns.double().sum(-1) * QUERY * scaling
    expected = torch.tensor(paper_slopes(12)).double()[:, None] * positions
    assert ((bias[0] - expected).abs() <= 3e-7 * expected + 1e-6).all()


def test_positions_of_two_dimensional_masks_count_tokens():
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 1, 1, 0]])
    assert key_positions(mask).tolist() == [[0, 0, 0, 1, 2], [0, 1, 2, 0, 0], [0, 0, 1, 2, 0]]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=5))
def test_positions_restart_with_every_record(lengths):
    segments = torch.tensor([[k for k, length in enumerate(lengths) for _ in range(length)]])
    mask = block_diagonal_mask(segments)
    additive = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.float32).min)
    expected = [[i for length in lengths for i in range(length)]]
    assert key_positions(mask).tolist() == key_positions(additive).tolist() == expected
    # eager attention's bias: one row of heads, one number per key
    assert packed_alibi(mask, 8, torch.float32)[:, 0].tolist() == [[p * 2.0**-h for p in expected[0]] for h in range(1, 9)]


def test_a_rectangular_mask_counts_from_the_first_key():
    assert key_positions(torch.ones(2, 1, 1, 4, dtype=torch.bool)).tolist() == [[0, 1, 2, 3]] * 2
