"""The chunked loss against the textbook one in float64: values, gradients, memory, dtypes."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from kinnari.functional import linear_cross_entropy as module
from kinnari.functional.linear_cross_entropy import linear_cross_entropy, plain_cross_entropy


def naive(hidden, weight, targets, bias=None, softcap=None, logit_scale=1.0):
    """Float64, token by token, from the definition: -log(exp(z_target) / sum exp(z))."""
    total = torch.zeros((), dtype=torch.float64)
    for row, target in zip(hidden.double(), targets.tolist(), strict=True):
        z = weight.double() @ row + (0.0 if bias is None else bias.double())
        z = z * logit_scale
        z = z if softcap is None else softcap * torch.tanh(z / softcap)
        total = total - (z[target] - z.exp().sum().log())
    return total


def case(n=7, v=11, h=5, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(n, h, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    weight = torch.randn(v, h, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    targets = torch.randint(0, v, (n,), generator=generator)
    return hidden, weight, targets


def gradients(loss, *inputs):
    return torch.autograd.grad(loss, inputs)


class TestLinearCrossEntropy:
    def test_equal_logits_cost_log_of_the_vocabulary(self):
        loss = linear_cross_entropy(torch.ones(3, 2), torch.ones(4, 2), torch.tensor([0, 1, 3]))
        assert loss.nll_sum.item() == pytest.approx(3 * math.log(4))
        assert loss.nll_sum.dtype == torch.float32

    def test_gradient_of_a_hand_worked_token(self):
        # logits (0, ln 3): p = (1/4, 3/4); target 1: nll = ln 4/3, d nll / d logits = (1/4, -1/4)
        hidden = torch.tensor([[math.log(3.0)]], requires_grad=True)
        weight = torch.tensor([[0.0], [1.0]], requires_grad=True)
        loss = linear_cross_entropy(hidden, weight, torch.tensor([1]))
        assert loss.nll_sum.item() == pytest.approx(math.log(4 / 3))
        assert loss.correct.item() == 1
        loss.nll_sum.backward()
        assert hidden.grad.item() == pytest.approx(-0.25)
        torch.testing.assert_close(weight.grad, torch.tensor([[0.25], [-0.25]]) * math.log(3.0))

    @settings(max_examples=40, deadline=None)
    @given(
        n=st.integers(1, 12),
        v=st.integers(1, 20),
        chunk=st.integers(1, 14),
        bias=st.booleans(),
        softcap=st.sampled_from([None, 0.7, 30.0]),
        scale=st.sampled_from([1.0, 0.0625, 3.0]),
        seed=st.integers(0, 5),
    )
    def test_equals_the_definition_for_any_split_into_chunks(self, n, v, chunk, bias, softcap, scale, seed):
        hidden, weight, targets = case(n, v, dtype=torch.float64, seed=seed)
        offset = torch.linspace(-1, 1, v, dtype=torch.float64).requires_grad_() if bias else None
        inputs = (hidden, weight, offset) if bias else (hidden, weight)
        kwargs = {"bias": offset, "softcap": softcap, "logit_scale": scale}
        ours = linear_cross_entropy(hidden, weight, targets, chunk_size=chunk, **kwargs)
        reference = naive(hidden, weight, targets, **kwargs)
        torch.testing.assert_close(ours.nll_sum, reference)
        for mine, theirs in zip(gradients(ours.nll_sum, *inputs), gradients(reference, *inputs), strict=True):
            torch.testing.assert_close(mine, theirs)
        plain = plain_cross_entropy(hidden, weight, targets, **kwargs)
        torch.testing.assert_close(plain.nll_sum, reference)
        assert plain.correct == ours.correct

    @pytest.mark.parametrize("settings", [{}, {"softcap": 2.0}, {"logit_scale": 0.3}, {"softcap": 1.5, "logit_scale": 3.0}])
    def test_gradcheck(self, settings):
        hidden, weight, targets = case(4, 6, 3, dtype=torch.float64)
        bias = torch.linspace(-1, 1, 6, dtype=torch.float64).requires_grad_()

        def loss(hidden, weight, bias):
            return linear_cross_entropy(hidden, weight, targets, bias=bias, chunk_size=3, **settings).nll_sum

        assert torch.autograd.gradcheck(loss, (hidden, weight, bias))

    def test_factor_from_above_scales_every_gradient(self):
        hidden, weight, targets = case()
        (linear_cross_entropy(hidden, weight, targets).nll_sum * 0.25).backward()
        expected = gradients(plain_cross_entropy(hidden, weight, targets).nll_sum * 0.25, hidden, weight)
        torch.testing.assert_close((hidden.grad, weight.grad), expected)

    def test_kept_graph_gives_the_same_gradient_twice(self):
        hidden, weight, targets = case()
        loss = linear_cross_entropy(hidden, weight, targets).nll_sum * 3.0
        first = torch.autograd.grad(loss, (hidden, weight), retain_graph=True)
        torch.testing.assert_close(first, torch.autograd.grad(loss, (hidden, weight)))

    def test_graph_not_kept_refuses_a_second_backward(self):
        hidden, weight, targets = case()
        loss = linear_cross_entropy(hidden, weight, targets).nll_sum
        loss.backward()
        with pytest.raises(RuntimeError, match="second time"):
            loss.backward()

    def test_tied_weight_receives_the_gradient_of_both_uses(self):
        _, weight, targets = case()
        ids = torch.arange(7)
        ours = gradients(linear_cross_entropy(weight[ids], weight, targets, chunk_size=2).nll_sum, weight)
        torch.testing.assert_close(ours, gradients(naive(weight[ids], weight, targets).float(), weight))

    def test_large_logits_stay_finite(self):
        hidden, weight, targets = case()
        loss = linear_cross_entropy(hidden * 1e4, weight, targets)
        assert torch.isfinite(loss.nll_sum)
        torch.testing.assert_close(loss.nll_sum, plain_cross_entropy(hidden * 1e4, weight, targets).nll_sum)

    def test_first_of_equal_maxima_counts_as_the_prediction(self):
        hidden, weight = torch.ones(2, 1), torch.ones(3, 1)
        assert linear_cross_entropy(hidden, weight, torch.tensor([0, 1])).correct.item() == 1

    def test_softmax_over_itself_equals_the_copy(self):
        z = torch.randn(5, 1003, generator=torch.Generator().manual_seed(0))
        expected = torch.softmax(z, dim=-1)
        assert torch.equal(torch.softmax(z, dim=-1, out=z), expected)


class TestNothingToTrain:
    def test_no_token_gives_zero_with_zero_gradients(self):
        _, weight, _ = case()
        body = torch.randn(4, 5, requires_grad=True)
        loss = linear_cross_entropy(body[:0], weight, torch.zeros(0, dtype=torch.int64))
        loss.nll_sum.backward()
        assert loss.nll_sum.item() == 0.0 and loss.correct.item() == 0
        assert torch.equal(body.grad, torch.zeros(4, 5))
        assert torch.equal(weight.grad, torch.zeros(11, 5))

    def test_frozen_weight_has_no_gradient_buffer(self, monkeypatch):
        hidden, weight, targets = case()
        weight.requires_grad_(False)
        buffers = []
        monkeypatch.setattr(torch, "zeros_like", lambda like, **kwargs: buffers.append(like.shape) or torch.full_like(like, 0, **kwargs))
        linear_cross_entropy(hidden, weight, targets).nll_sum.backward()
        assert buffers == []
        assert hidden.grad is not None

    @pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
    def test_no_gradient_is_computed_where_none_is_recorded(self, mode, monkeypatch):
        hidden, weight, targets = case()
        seen = []
        monkeypatch.setattr(module, "add_gradients", lambda *args: seen.append(args[-1]))
        with mode():
            loss = linear_cross_entropy(hidden, weight, targets)
        assert seen == []
        assert not loss.nll_sum.requires_grad
        torch.testing.assert_close(loss.nll_sum.double(), naive(hidden, weight, targets).detach())

    def test_gradient_buffer_becomes_grad_without_a_copy(self):
        hidden, weight, targets = case()
        loss = linear_cross_entropy(hidden, weight, targets).nll_sum
        # a [V, H] gradient in float32 is as large as the head: taking a copy would be the peak of the step
        saved = [tensor.data_ptr() for tensor in loss.grad_fn.saved_tensors]
        loss.backward()
        assert weight.grad.data_ptr() in saved


class LargestTensor(TorchDispatchMode):
    """Elements of the largest floating tensor any operation returned."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.is_floating_point():
            self.elements = max(self.elements, result.numel())
        return result


class TestMemory:
    def test_logits_never_exceed_one_chunk(self):
        hidden, weight, targets = case(n=64, v=500, h=4)
        with LargestTensor() as chunked:
            linear_cross_entropy(hidden, weight, targets, chunk_size=8).nll_sum.backward()
        assert chunked.elements == 8 * 500


class TestDtypes:
    @pytest.mark.parametrize("low", [torch.bfloat16, torch.float16])
    def test_float32_master_weight_with_low_activations(self, low):
        hidden, weight, targets = case(n=40, v=50, h=16)
        low_hidden = hidden.detach().to(low).requires_grad_()
        loss = linear_cross_entropy(low_hidden, weight, targets, chunk_size=16)
        loss.nll_sum.backward()
        assert (loss.nll_sum.dtype, low_hidden.grad.dtype, weight.grad.dtype) == (torch.float32, low, torch.float32)
        exact = gradients(naive(hidden, weight, targets).float(), hidden, weight)
        assert loss.nll_sum.item() == pytest.approx(naive(hidden, weight, targets).item(), rel=5e-3)
        for ours, reference in zip((low_hidden.grad, weight.grad), exact, strict=True):
            assert F.cosine_similarity(ours.double().flatten(), reference.double().flatten(), dim=0) > 0.999

    def test_low_weight_gets_its_gradient_in_its_own_dtype(self):
        hidden, weight, targets = case(dtype=torch.bfloat16)
        linear_cross_entropy(hidden, weight, targets, chunk_size=2).nll_sum.backward()
        assert weight.grad.dtype == torch.bfloat16

    def test_low_weight_gradient_does_not_depend_on_the_chunks(self):
        # 4096 equal contributions: summed chunk by chunk in bfloat16, each would vanish beside the total after 256 of them
        hidden = torch.ones(4096, 1, dtype=torch.bfloat16)
        weight = torch.zeros(2, 1, dtype=torch.bfloat16, requires_grad=True)
        targets = torch.zeros(4096, dtype=torch.int64)
        linear_cross_entropy(hidden, weight, targets, chunk_size=1).nll_sum.backward()
        assert weight.grad.flatten().tolist() == [-2048.0, 2048.0]

    def test_autocast_decides_the_dtype_of_the_products_and_leaves_the_loss_alone(self):
        hidden, weight, targets = case(n=20, v=30, h=8)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inside = linear_cross_entropy(hidden, weight, targets, chunk_size=8).nll_sum
        outside = linear_cross_entropy(hidden.bfloat16(), weight.bfloat16(), targets, chunk_size=8).nll_sum
        assert inside.dtype == torch.float32
        torch.testing.assert_close(inside, outside, rtol=0, atol=0)
        assert all(gradient.dtype == torch.float32 for gradient in gradients(inside, hidden, weight))


class TestErrors:
    def test_unflattened_hidden_is_named(self):
        with pytest.raises(ValueError, match=r"\(2, 3, 4\).*flatten"):
            linear_cross_entropy(torch.ones(2, 3, 4), torch.ones(5, 4), torch.zeros(6, dtype=torch.int64))

    def test_missing_targets_are_named(self):
        with pytest.raises(ValueError, match=r"targets is \(2,\)"):
            plain_cross_entropy(torch.ones(3, 4), torch.ones(5, 4), torch.zeros(2, dtype=torch.int64))

    def test_wrong_bias_is_named(self):
        with pytest.raises(ValueError, match=r"bias is \(4,\)"):
            linear_cross_entropy(torch.ones(1, 4), torch.ones(5, 4), torch.zeros(1, dtype=torch.int64), bias=torch.ones(4))

    def test_chunk_of_no_token_is_refused(self):
        with pytest.raises(ValueError, match="chunk_size=0"):
            linear_cross_entropy(torch.ones(1, 4), torch.ones(5, 4), torch.zeros(1, dtype=torch.int64), chunk_size=0)
