"""PPO's losses against hand-worked numbers and token-by-token loops; junk outside of the mask reaches neither sums nor gradients."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinnari.functional.rl_losses import explained_variance, masked_sum, policy_loss, token_kl, value_loss
from kinnari.functional.running_moments import moments_of

LN2 = math.log(2)


def double(*rows, **kwargs):
    return torch.tensor(rows, dtype=torch.float64, **kwargs)


def random_numbers(seed, shape, count):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(shape, generator=generator) < 0.6
    return mask, *(torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(count))


def spoilt(mask, *tensors):
    """NaN and infinities where nothing may be read."""
    junk = [math.nan, math.inf, -math.inf]
    return [torch.where(mask, tensor, junk[i % 3]) for i, tensor in enumerate(tensors)]


SHAPES = st.tuples(st.integers(1, 4), st.integers(0, 7))


class TestPolicyLoss:
    def test_hand_worked_tokens(self):
        # ratios 2, 2, 1/2, 1/2, 1 with advantages 1, -1, 1, -1, 3; the last place is padding
        logprobs = double([LN2, LN2, -LN2, -LN2, 0.0, math.nan], requires_grad=True)
        mask = torch.tensor([[1, 1, 1, 1, 1, 0]])
        found = policy_loss(logprobs, double([0.0] * 6), double([1.0, -1.0, 1.0, -1.0, 3.0, math.nan]), mask, clip=0.2)
        # min(2, 1.2), min(-2, -1.2), min(1/2, 0.8), min(-1/2, -0.8), 3
        assert found.loss_sum.item() == pytest.approx(-(1.2 - 2 + 0.5 - 0.8 + 3))
        assert (found.tokens.item(), found.clipped.item(), found.ratio_error.item()) == (5, 2, 1.0)
        assert found.kl_sum.item() == pytest.approx(2 * (1 - LN2) + 2 * (-0.5 + LN2))
        found.loss_sum.backward()
        torch.testing.assert_close(logprobs.grad, double([0.0, 2.0, -0.5, 0.0, -3.0, 0.0]))

    def test_with_unchanged_weights_the_ratio_is_one_and_the_loss_the_advantages(self):
        mask, logprobs, advantages = random_numbers(0, (3, 5), 2)
        found = policy_loss(logprobs, logprobs.clone(), advantages, mask)
        assert found.ratio_error == 0 and found.kl_sum == 0 and found.clipped == 0
        torch.testing.assert_close(found.loss_sum, -advantages[mask].sum())

    @settings(max_examples=60, deadline=None)
    @given(seed=st.integers(0, 10_000), shape=SHAPES, clip=st.sampled_from([0.1, 0.2, 0.5]))
    def test_equals_a_loop_over_tokens_and_never_reads_beside_the_mask(self, seed, shape, clip):
        mask, logprobs, old, advantages = random_numbers(seed, shape, 3)
        loss = clipped = kl = error = 0.0
        for row, t in mask.nonzero().tolist():
            ratio, advantage = math.exp(logprobs[row, t] - old[row, t]), float(advantages[row, t])
            free, bounded = ratio * advantage, min(max(ratio, 1 - clip), 1 + clip) * advantage
            loss, clipped = loss - min(free, bounded), clipped + (bounded < free)
            kl, error = kl + ratio - 1 - math.log(ratio), max(error, abs(ratio - 1))
        tensors = spoilt(mask, logprobs, old, advantages)
        tensors[0].requires_grad_()
        found = policy_loss(*tensors, mask, clip=clip)
        assert [float(x) for x in found] == pytest.approx([loss, int(mask.sum()), clipped, kl, error], abs=1e-9)
        found.loss_sum.backward()
        assert tensors[0].grad.isfinite().all() and not tensors[0].grad[~mask].any()

    def test_parts_add_up_to_the_whole(self):
        mask, *tensors = random_numbers(1, (4, 6), 3)
        whole = policy_loss(*tensors, mask)
        parts = [policy_loss(*(x[rows] for x in tensors), mask[rows]) for rows in (slice(0, 1), slice(1, 4))]
        for i in range(4):
            torch.testing.assert_close(parts[0][i] + parts[1][i], whole[i])

    def test_gradcheck(self):
        mask, logprobs, old, advantages = random_numbers(3, (2, 4), 3)
        assert torch.autograd.gradcheck(lambda x: policy_loss(x, old, advantages, mask).loss_sum, logprobs.requires_grad_())

    def test_policies_without_anything_in_common_stay_finite(self):
        logprobs = torch.tensor([[0.0, 0.0]], requires_grad=True)
        found = policy_loss(logprobs, torch.tensor([[-500.0, -500.0]]), torch.tensor([[0.0, -1.0]]), torch.ones(1, 2))
        found.loss_sum.backward()
        assert all(part.isfinite() for part in found) and logprobs.grad.isfinite().all()


class TestValueLoss:
    def test_hand_worked_tokens(self):
        # old 0, clip 0.2. value 1, return 0: worse unclipped, 1; value 1, return 1: clipped to 0.2, 0.64; value 0.1, return 1: the same
        found = value_loss(double([1.0, 1.0, 0.1]), double([0.0, 0.0, 0.0]), double([0.0, 1.0, 1.0]), torch.ones(1, 3), clip=0.2)
        assert found.loss_sum.item() == pytest.approx(0.5 * (1 + 0.64 + 0.81))
        assert (found.tokens.item(), found.clipped.item()) == (3, 1)
        plain = value_loss(double([1.0, 1.0]), double([0.0, 0.0]), double([0.0, 1.0]), torch.ones(1, 2), clip=None)
        assert (plain.loss_sum.item(), plain.clipped.item()) == (0.5, 0)

    @settings(max_examples=60, deadline=None)
    @given(seed=st.integers(0, 10_000), shape=SHAPES, clip=st.sampled_from([None, 0.2, 1.0]))
    def test_equals_a_loop_over_tokens_and_never_reads_beside_the_mask(self, seed, shape, clip):
        mask, values, old, returns = random_numbers(seed, shape, 3)
        loss = clipped = 0.0
        for row, t in mask.nonzero().tolist():
            v, o, r = (float(x[row, t]) for x in (values, old, returns))
            errors = [(v - r) ** 2]
            if clip is not None:
                errors.append((min(max(v, o - clip), o + clip) - r) ** 2)
            loss, clipped = loss + 0.5 * max(errors), clipped + (errors[-1] > errors[0])
        tensors = spoilt(mask, values, old, returns)
        tensors[0].requires_grad_()
        found = value_loss(*tensors, mask, clip=clip)
        assert [float(x) for x in found] == pytest.approx([loss, int(mask.sum()), clipped], abs=1e-9)
        found.loss_sum.backward()
        assert tensors[0].grad.isfinite().all() and not tensors[0].grad[~mask].any()

    def test_gradcheck(self):
        mask, values, old, returns = random_numbers(5, (2, 4), 3)
        assert torch.autograd.gradcheck(lambda x: value_loss(x, old, returns, mask).loss_sum, values.requires_grad_())


class TestTokenKl:
    def test_hand_worked_token(self):
        # p is twice the reference: d = ln 2
        kl = [token_kl(double([0.0]), double([-LN2]), estimator).item() for estimator in ("k1", "k2", "k3")]
        assert kl == pytest.approx([LN2, LN2**2 / 2, 0.5 - 1 + LN2])

    def test_k1_and_k3_are_unbiased_and_k3_never_negative(self):
        p, q = double(0.5, 0.3, 0.2), double(0.2, 0.3, 0.5)
        exact = (p * (p / q).log()).sum().item()
        for estimator in ("k1", "k3"):
            assert (p * token_kl(p.log(), q.log(), estimator)).sum().item() == pytest.approx(exact)
        assert (token_kl(p.log(), q.log(), "k3") >= 0).all()

    def test_k3_of_equal_policies_is_exactly_zero_and_of_distant_ones_finite(self):
        logprobs = torch.randn(50)
        assert not token_kl(logprobs, logprobs.clone(), "k3").any()
        assert token_kl(torch.tensor([-1000.0]), torch.tensor([0.0]), "k3").isfinite().all()

    def test_gradcheck_and_a_wrong_name(self):
        d = double([0.3, -0.8])
        for estimator in ("k1", "k2", "k3"):
            assert torch.autograd.gradcheck(lambda x, e=estimator: token_kl(x, torch.zeros_like(x), e), d.clone().requires_grad_())
        with pytest.raises(ValueError, match="k4"):
            token_kl(d, d, "k4")


def test_masked_sum_counts_and_ignores_the_rest():
    values = torch.tensor([[1.5, math.nan, 2.0]], requires_grad=True)
    found = masked_sum(values, torch.tensor([[1, 0, 1]]))
    found.total.backward()
    assert (found.total.item(), found.tokens.item(), values.grad.tolist()) == (3.5, 2, [[1.0, 0.0, 1.0]])


def test_half_precision_sums_are_float32():
    low = torch.ones(1, 4, dtype=torch.bfloat16)
    assert masked_sum(low, low).total.dtype == policy_loss(low, low, low, low).loss_sum.dtype == torch.float32


@pytest.mark.parametrize(
    ("values", "expected"), [([1.0, 2.0, 3.0], 1.0), ([2.0, 2.0, 2.0], 0.0), ([3.0, 2.0, 1.0], -3.0), ([0.0, 1.0, 2.0], 1.0)]
)
def test_explained_variance_of_critics_that_know_all_the_mean_the_opposite_and_all_but_the_level(values, expected):
    returns = double(1.0, 2.0, 3.0)
    assert explained_variance(moments_of(returns - double(*values)), moments_of(returns)) == pytest.approx(expected)


def test_explained_variance_of_equal_returns_is_zero():
    assert explained_variance(moments_of(double(1.0, 2.0)), moments_of(double(3.0, 3.0))) == 0.0
