"""The fused low-rank update against the same mathematics in torch's own operations."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinnari.functional.lora import dropped, keep_mask, lora_update


def reference(base, x, a, b, scaling, keep=None, dropout=0.0):
    dropped_x = x if keep is None else x * keep / (1.0 - dropout)
    return base + scaling * (dropped_x @ a.T @ b.T)


def tensors(shape, inputs, outputs, rank, dtype=torch.float64):
    return (
        torch.randn(*shape, inputs, dtype=dtype, requires_grad=True),
        torch.randn(rank, inputs, dtype=dtype, requires_grad=True),
        torch.randn(outputs, rank, dtype=dtype, requires_grad=True),
        torch.randn(outputs, inputs, dtype=dtype),
    )


def test_hand_worked_update():
    base, x = torch.tensor([[10.0, 20.0]]), torch.tensor([[1.0, 2.0, 3.0]])
    a, b = torch.tensor([[1.0, 0.0, 1.0]]), torch.tensor([[1.0], [-1.0]])
    # x A^T = 4, times B^T = (4, -4), times 0.5
    assert lora_update(base, x, a, b, scaling=0.5).tolist() == [[12.0, 18.0]]


@settings(max_examples=25, deadline=None)
@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    inputs=st.integers(1, 7),
    outputs=st.integers(1, 7),
    rank=st.integers(1, 4),
    dropout=st.sampled_from([0.0, 0.1, 0.7]),
    scaling=st.floats(0.1, 3.0),
)
def test_values_and_gradients_equal_those_of_autograd(shape, inputs, outputs, rank, dropout, scaling):
    x, a, b, weight = tensors(shape, inputs, outputs, rank)
    torch.manual_seed(3)
    fused = lora_update(x @ weight.T, x, a, b, scaling, dropout)
    torch.manual_seed(3)
    keep = keep_mask(x, dropout) if dropout else None
    expected = reference(x @ weight.T, x, a, b, scaling, keep, dropout)
    torch.testing.assert_close(fused, expected)
    grad = torch.randn_like(fused)
    found = torch.autograd.grad(fused, (x, a, b), grad)
    for mine, theirs in zip(found, torch.autograd.grad(expected, (x, a, b), grad), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_a_frozen_input_and_factor_get_no_gradient():
    x, a, b, weight = tensors((3,), 4, 5, 2)
    y = lora_update((x.detach() @ weight.T), x.detach(), a, b.detach(), 1.0)
    y.sum().backward()
    assert x.grad is None and b.grad is None
    torch.testing.assert_close(a.grad, (b.detach().sum(0)[:, None] * x.detach().sum(0)))


@pytest.mark.parametrize("dropout", [0.05, 0.5])
def test_share_of_dropped_elements_is_the_probability(dropout):
    torch.manual_seed(0)
    dropped_share = 1.0 - keep_mask(torch.empty(500, 401), dropout).double().mean().item()
    assert abs(dropped_share - dropout) < 0.004  # six standard deviations at 0.5


def test_the_seed_decides_the_mask():
    masks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        masks.append(keep_mask(torch.empty(5, 7), 0.5))
    assert torch.equal(masks[0], masks[1]) and not torch.equal(masks[0], masks[2])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_dropped_elements_are_zero_and_kept_ones_untouched(dtype):
    x = torch.tensor([1.5, -2.0, float("inf"), 4.0]).to(dtype)[:3]
    assert dropped(x, torch.tensor([True, False, True])).tolist() == [1.5, 0.0, float("inf")]


def test_under_autocast_products_are_bfloat16_and_gradients_float32():
    x = torch.randn(6, 8, dtype=torch.bfloat16, requires_grad=True)
    a, b = torch.randn(2, 8, requires_grad=True), torch.randn(4, 2, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        y = lora_update(torch.zeros(6, 4, dtype=torch.bfloat16), x, a, b, 1.5)
    y.float().sum().backward()
    assert y.dtype == torch.bfloat16 and x.grad.dtype == torch.bfloat16 and a.grad.dtype == b.grad.dtype == torch.float32
    torch.testing.assert_close(y.float(), reference(torch.zeros(6, 4), x.float(), a, b, 1.5), rtol=0.03, atol=0.1)
