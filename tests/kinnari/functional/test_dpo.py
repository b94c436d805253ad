"""DPO's loss against hand-worked pairs, a loop, and its gradient as the paper states it."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinnari.functional.dpo import dpo_loss, sequence_logprobs

LN2 = math.log(2)


def double(*values, **kwargs):
    return torch.tensor(values, dtype=torch.float64, **kwargs)


def test_a_policy_that_is_its_reference_pays_ln_two_a_pair():
    found = dpo_loss(double(-5.0, -9.0), double(-7.0, -1.0), double(-5.0, -9.0), double(-7.0, -1.0))
    assert found.loss_sum.item() == pytest.approx(2 * LN2)
    assert (found.pairs.item(), found.correct.item()) == (2, 0)


def test_hand_worked_pair():
    # beta 1/2: rewards (ln 9) / 2 = ln 3 and 0; sigmoid(ln 3) = 3/4
    found = dpo_loss(double(math.log(9) - 4), double(-3.0), double(-4.0), double(-3.0), beta=0.5)
    assert found.loss_sum.item() == pytest.approx(math.log(4 / 3))
    assert (found.correct.item(), found.chosen_reward_sum.item(), found.rejected_reward_sum.item()) == (1, pytest.approx(math.log(3)), 0.0)
    smoothed = dpo_loss(double(math.log(9) - 4), double(-3.0), double(-4.0), double(-3.0), beta=0.5, label_smoothing=0.25)
    assert smoothed.loss_sum.item() == pytest.approx(0.75 * math.log(4 / 3) + 0.25 * math.log(4))


def test_the_gradient_is_that_of_the_paper():
    # d loss / d log p_chosen = -beta sigmoid(-h), and the opposite for the rejected one (section 4)
    chosen, rejected = double(-1.0, requires_grad=True), double(-2.0, requires_grad=True)
    dpo_loss(chosen, rejected, double(-3.0), double(-1.5), beta=0.3).loss_sum.backward()
    h = 0.3 * ((-1 + 3) - (-2 + 1.5))
    assert chosen.grad.item() == pytest.approx(-0.3 / (1 + math.exp(h))) == -rejected.grad.item()


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000), pairs=st.integers(0, 6), beta=st.sampled_from([0.01, 0.1, 1.0]), smoothing=st.sampled_from([0.0, 0.1, 0.4])
)
def test_equals_a_loop_over_the_pairs_that_count(seed, pairs, beta, smoothing):
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randn(4, pairs, generator=generator, dtype=torch.float64) * 5
    counted = torch.rand(pairs, generator=generator) < 0.7
    loss = 0.0
    rewards = [0.0, 0.0]
    right = 0
    for i in counted.nonzero().flatten().tolist():
        c, r, rc, rr = (float(x) for x in numbers[:, i])
        h = beta * ((c - rc) - (r - rr))
        loss += (1 - smoothing) * math.log1p(math.exp(-h)) + smoothing * math.log1p(math.exp(h))
        rewards = [rewards[0] + beta * (c - rc), rewards[1] + beta * (r - rr)]
        right += h > 0
    junk = torch.where(counted, numbers, math.nan).requires_grad_()
    found = dpo_loss(*junk, beta=beta, label_smoothing=smoothing, counted=counted)
    assert [float(x) for x in found] == pytest.approx([loss, int(counted.sum()), right, *rewards], abs=1e-9)
    found.loss_sum.backward()
    assert junk.grad.isfinite().all() and not junk.grad[2:].any()


def test_gradcheck():
    chosen, rejected = double(-1.0, 2.0, requires_grad=True), double(0.5, -2.0, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda c, r: dpo_loss(c, r, double(0.0, 0.1), double(1.0, 0.0), label_smoothing=0.2).loss_sum, (chosen, rejected)
    )


def test_sequence_logprobs_sum_the_answers_tokens_alone():
    found = sequence_logprobs(torch.tensor([[math.nan, -1.0, -2.5], [-4.0, 0.0, math.inf]]), torch.tensor([[0, 1, 1], [1, 0, 0]]))
    assert found.tolist() == [-3.5, -4.0]
    assert sequence_logprobs(torch.zeros(1, 2, dtype=torch.bfloat16), torch.ones(1, 2)).dtype == torch.float32


@pytest.mark.parametrize("arguments", [{"beta": 0.0}, {"label_smoothing": 0.5}, {"label_smoothing": -0.1}])
def test_settings_that_mean_nothing_are_refused(arguments):
    with pytest.raises(ValueError, match="label_smoothing"):
        dpo_loss(double(0.0), double(0.0), double(0.0), double(0.0), **arguments)
