"""Log-probabilities token by token against log_softmax and gather in float64: values, entropies, gradients, memory."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinnari.functional import token_logprobs as module
from kinnari.functional.linear_cross_entropy import linear_cross_entropy
from kinnari.functional.token_logprobs import token_logprobs
from tests.kinnari.functional.test_linear_cross_entropy import LargestTensor, case


def naive(hidden, weight, targets, bias=None, softcap=None, logit_scale=1.0, temperature=1.0):
    """All logits at once, in float64, through torch's own log_softmax."""
    z = hidden.double() @ weight.double().t() + (0.0 if bias is None else bias.double())
    z = z * logit_scale
    z = z if softcap is None else softcap * torch.tanh(z / softcap)
    log_p = torch.log_softmax(z / temperature, dim=-1)
    return log_p.gather(1, targets[:, None]).squeeze(1), -(log_p.exp() * log_p).sum(-1)


class TestValues:
    def test_a_hand_worked_token(self):
        # logits (0, ln 3): p = (1/4, 3/4); log p(1) = ln 3/4; entropy = ln 4 - 3/4 ln 3
        hidden, weight = torch.tensor([[math.log(3.0)]]), torch.tensor([[0.0], [1.0]])
        found = token_logprobs(hidden, weight, torch.tensor([1]), entropy=True)
        assert found.logprobs.item() == pytest.approx(math.log(3 / 4))
        assert found.entropy.item() == pytest.approx(math.log(4) - 0.75 * math.log(3))

    def test_temperature_two_takes_the_root_of_the_odds(self):
        # odds 1 : 9 become 1 : 3
        hidden, weight = torch.tensor([[math.log(9.0)]]), torch.tensor([[0.0], [1.0]])
        found = token_logprobs(hidden, weight, torch.tensor([0]), temperature=2.0)
        assert found.logprobs.item() == pytest.approx(math.log(1 / 4))
        assert found.entropy.shape == (0,)

    @settings(max_examples=60, deadline=None)
    @given(
        n=st.integers(1, 12),
        v=st.integers(1, 20),
        chunk=st.integers(1, 14),
        bias=st.booleans(),
        frozen=st.booleans(),
        entropy_gradient=st.booleans(),
        softcap=st.sampled_from([None, 0.7, 30.0]),
        scale=st.sampled_from([1.0, 0.0625, 3.0]),
        temperature=st.sampled_from([1.0, 0.5, 1.7]),
        seed=st.integers(0, 5),
    )
    def test_equals_log_softmax_for_any_split_into_chunks(
        self, n, v, chunk, bias, frozen, entropy_gradient, softcap, scale, temperature, seed
    ):
        hidden, weight, targets = case(n, v, dtype=torch.float64, seed=seed)
        offset = torch.linspace(-1, 1, v, dtype=torch.float64).requires_grad_(not frozen) if bias else None
        weight.requires_grad_(not frozen)
        kwargs = {"bias": offset, "softcap": softcap, "logit_scale": scale, "temperature": temperature}
        ours = token_logprobs(hidden, weight, targets, chunk_size=chunk, entropy=True, entropy_gradient=entropy_gradient, **kwargs)
        logprobs, entropy = naive(hidden, weight, targets, **kwargs)
        torch.testing.assert_close(ours.logprobs, logprobs)
        torch.testing.assert_close(ours.entropy, entropy)
        assert ours.entropy.requires_grad == entropy_gradient
        factors = torch.randn(2, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        inputs = [x for x in (hidden, weight, offset) if x is not None and x.requires_grad]
        loss = (factors[0] * ours.logprobs).sum() + ((factors[1] * ours.entropy).sum() if entropy_gradient else 0)
        reference = (factors[0] * logprobs).sum() + ((factors[1] * entropy).sum() if entropy_gradient else 0)
        for mine, theirs in zip(torch.autograd.grad(loss, inputs), torch.autograd.grad(reference, inputs), strict=True):
            torch.testing.assert_close(mine, theirs)

    def test_their_sum_is_the_loss_of_fine_tuning(self):
        hidden, weight, targets = case(9, 30)
        logprobs = token_logprobs(hidden, weight, targets).logprobs
        torch.testing.assert_close(-logprobs.sum(), linear_cross_entropy(hidden, weight, targets).nll_sum)

    def test_a_certain_token_has_no_entropy_and_no_nan(self):
        hidden = torch.tensor([[1e4]], requires_grad=True)
        found = token_logprobs(hidden, torch.tensor([[0.0], [1.0]]), torch.tensor([1]), entropy=True, entropy_gradient=True)
        (found.logprobs + found.entropy).backward()
        assert (found.logprobs.item(), found.entropy.item(), hidden.grad.item()) == (0.0, 0.0, 0.0)

    def test_an_impossible_token_has_a_finite_log_probability(self):
        found = token_logprobs(torch.tensor([[1e4]]), torch.tensor([[0.0], [1.0]]), torch.tensor([0]))
        assert found.logprobs.item() == -1e4


class TestGradients:
    @pytest.mark.parametrize("frozen", [False, True])
    @pytest.mark.parametrize("settings", [{}, {"softcap": 2.0, "temperature": 0.7}, {"logit_scale": 0.3}])
    def test_gradcheck(self, frozen, settings):
        hidden, weight, targets = case(4, 6, 3, dtype=torch.float64)
        bias = torch.linspace(-1, 1, 6, dtype=torch.float64).requires_grad_()

        def both(hidden, weight, bias):
            return token_logprobs(hidden, weight, targets, bias=bias, chunk_size=3, entropy=True, entropy_gradient=True, **settings)

        def logprobs(hidden):
            return token_logprobs(hidden, weight.detach(), targets, chunk_size=3, **settings).logprobs

        inputs = (hidden,) if frozen else (hidden, weight, bias)
        assert torch.autograd.gradcheck(logprobs if frozen else both, inputs)

    def test_only_the_entropy_may_be_used(self):
        hidden, weight, targets = case(5, 7, dtype=torch.float64)
        ours = token_logprobs(hidden, weight, targets, entropy=True, entropy_gradient=True, chunk_size=2).entropy.sum()
        expected = naive(hidden, weight, targets)[1].sum()
        torch.testing.assert_close(torch.autograd.grad(ours, (hidden, weight)), torch.autograd.grad(expected, (hidden, weight)))

    def test_no_token_gives_zero_gradients(self):
        _, weight, _ = case()
        body = torch.randn(4, 5, requires_grad=True)
        token_logprobs(body[:0], weight, torch.zeros(0, dtype=torch.int64)).logprobs.sum().backward()
        assert torch.equal(body.grad, torch.zeros(4, 5)) and torch.equal(weight.grad, torch.zeros(11, 5))

    @pytest.mark.parametrize("frozen", [False, True])
    def test_logits_are_made_once_for_a_frozen_head_and_twice_for_a_trained_one(self, frozen, monkeypatch):
        hidden, weight, targets = case()
        weight.requires_grad_(not frozen)
        products = []
        original = module.chunk_logits
        monkeypatch.setattr(module, "chunk_logits", lambda *args: products.append("logits") or original(*args))
        token_logprobs(hidden, weight, targets).logprobs.sum().backward()
        assert len(products) == (1 if frozen else 2)

    @pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
    def test_nothing_is_kept_where_no_gradient_is_recorded(self, mode, monkeypatch):
        hidden, weight, targets = case()
        monkeypatch.setattr(module, "add_gradients", lambda *args: pytest.fail("a gradient was computed"))
        with mode():
            found = token_logprobs(hidden, weight.detach(), targets)
        assert not found.logprobs.requires_grad
        torch.testing.assert_close(found.logprobs, naive(hidden, weight, targets)[0].detach().float())


class TestMemoryAndDtypes:
    @pytest.mark.parametrize("frozen", [False, True])
    def test_logits_never_exceed_one_chunk(self, frozen):
        hidden, weight, targets = case(n=64, v=500, h=4)
        weight.requires_grad_(not frozen)
        with LargestTensor() as largest:
            found = token_logprobs(hidden, weight, targets, chunk_size=8, entropy=True, entropy_gradient=not frozen)
            found.logprobs.sum().backward()
        assert largest.elements == 8 * 500

    @pytest.mark.parametrize("frozen", [False, True])
    @pytest.mark.parametrize("low", [torch.bfloat16, torch.float16])
    def test_low_activations_over_a_float32_weight(self, low, frozen):
        hidden, weight, targets = case(n=40, v=50, h=16)
        weight.requires_grad_(not frozen)
        low_hidden = hidden.detach().to(low).requires_grad_()
        found = token_logprobs(low_hidden, weight, targets, chunk_size=16)
        found.logprobs.sum().backward()
        assert (found.logprobs.dtype, low_hidden.grad.dtype) == (torch.float32, low)
        torch.testing.assert_close(found.logprobs.double(), naive(hidden, weight, targets)[0].detach(), rtol=0.05, atol=0.05)
        expected = torch.autograd.grad(naive(hidden, weight, targets)[0].sum(), hidden)[0]
        assert torch.nn.functional.cosine_similarity(low_hidden.grad.double().flatten(), expected.double().flatten(), dim=0) > 0.999

    def test_autocast_decides_the_dtype_of_the_products_in_the_backward_too(self):
        hidden, weight, targets = case(n=20, v=30, h=8)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inside = token_logprobs(hidden, weight, targets).logprobs
        gradient = torch.autograd.grad(inside.sum(), hidden)[0]
        low = (hidden.detach().bfloat16().requires_grad_(), weight.detach().bfloat16().requires_grad_())
        outside = token_logprobs(*low, targets).logprobs
        assert torch.equal(inside, outside) and gradient.dtype == torch.float32
        assert torch.equal(gradient.bfloat16(), torch.autograd.grad(outside.sum(), low)[0])


class TestErrors:
    @pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
    def test_temperature_that_divides_nothing_is_refused(self, temperature):
        with pytest.raises(ValueError, match="temperature"):
            token_logprobs(torch.ones(1, 2), torch.ones(3, 2), torch.zeros(1, dtype=torch.int64), temperature=temperature)

    def test_chunk_of_no_token_and_wrong_shapes_are_refused(self):
        with pytest.raises(ValueError, match="chunk_size=0"):
            token_logprobs(torch.ones(1, 2), torch.ones(3, 2), torch.zeros(1, dtype=torch.int64), chunk_size=0)
        with pytest.raises(ValueError, match="flatten"):
            token_logprobs(torch.ones(1, 1, 2), torch.ones(3, 2), torch.zeros(1, dtype=torch.int64))
