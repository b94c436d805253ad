"""Pair losses against hand-worked numbers and against loops over single tokens, with padding on either side."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinnari.functional.reward_losses import divergence_losses, pairwise_losses

LN2 = math.log(2)


def double(*values, **kwargs):
    return torch.tensor(values, dtype=torch.float64, **kwargs)


class TestPairwise:
    def test_hand_worked_pairs(self):
        # equal scores: ln 2; a lead of ln 3: sigmoid = 3/4; a lag of ln 3: sigmoid = 1/4
        losses = pairwise_losses(double(1.0, math.log(3), 0.0), double(1.0, 0.0, math.log(3)))
        torch.testing.assert_close(losses, double(LN2, math.log(4 / 3), math.log(4)))

    def test_a_margin_must_be_led_by_and_centering_pulls_to_zero(self):
        assert pairwise_losses(double(2.0), double(1.0), margin=1.0).item() == pytest.approx(LN2)
        torch.testing.assert_close(pairwise_losses(double(2.0, 2.0), double(1.0, 1.0), margin=double(1.0, 0.0))[0], double(LN2)[0])
        assert pairwise_losses(double(2.0), double(2.0), centering=0.5).item() == pytest.approx(LN2 + 0.5 * 16)

    def test_a_hopeless_pair_costs_its_distance_and_not_infinity(self):
        # log(sigmoid(x)) would be log(0) here
        scores = torch.tensor([-500.0], requires_grad=True)
        loss = pairwise_losses(scores, torch.tensor([500.0]))
        loss.sum().backward()
        assert loss.item() == 1000.0 and scores.grad.item() == -1.0

    def test_half_precision_scores_are_compared_in_float32(self):
        losses = pairwise_losses(torch.tensor([3.0], dtype=torch.bfloat16), torch.tensor([1.0], dtype=torch.bfloat16))
        assert losses.dtype == torch.float32 and losses.item() == pytest.approx(math.log1p(math.exp(-2)), rel=1e-6)

    def test_gradcheck(self):
        chosen, rejected = double(0.3, -1.0, requires_grad=True), double(0.1, 2.0, requires_grad=True)
        assert torch.autograd.gradcheck(lambda c, r: pairwise_losses(c, r, margin=0.2, centering=0.1), (chosen, rejected))


def row(tokens, values, width, left):
    """(scores, ids, mask) of one row; padding has id 9, which is a real token elsewhere, and scores that must not be read."""
    pad = width - len(tokens)
    parts = ([math.nan] * pad, [9] * pad, [0] * pad), (values, tokens, [1] * len(tokens))
    first, second = parts if left else parts[::-1]
    return [a + b for a, b in zip(first, second, strict=True)]


def batch(rows, width, left):
    scores, ids, mask = zip(*(row(t, v, width, left) for t, v in rows), strict=True)
    return torch.tensor(scores, dtype=torch.float64), torch.tensor(ids), torch.tensor(mask)


def loop(chosen, rejected, margin, centering):
    """From the definition, token by token: lists of (tokens, values)."""
    found = []
    for (ct, cv), (rt, rv) in zip(chosen, rejected, strict=True):
        start = next((i for i, (a, b) in enumerate(zip(ct, rt, strict=False)) if a != b), min(len(ct), len(rt)))
        terms = []
        for i in range(start, max(len(ct), len(rt))):
            c, r = cv[min(i, len(cv) - 1)], rv[min(i, len(rv) - 1)]
            terms.append(math.log1p(math.exp(-(c - r - margin))) + centering * (c + r) ** 2)
        found.append(sum(terms) / len(terms) if terms else 0.0)
    return found


class TestDivergence:
    @pytest.mark.parametrize("left", [False, True])
    def test_hand_worked_pair(self, left):
        # prompt 1 2; answers 3 9 and 4: they part at place 2; the shorter keeps its score of ln 3 past its end
        chosen = batch([([1, 2, 3, 9], [7.0, 7.0, math.log(3), 2 * math.log(3)])], 6, left)
        rejected = batch([([1, 2, 4], [-7.0, -7.0, math.log(3)])], 5, left)
        losses = divergence_losses(chosen[0], rejected[0], chosen[1], rejected[1], chosen[2], rejected[2])
        torch.testing.assert_close(losses, double((LN2 + math.log(4 / 3)) / 2))

    def test_equal_answers_cost_nothing_and_an_empty_pair_too(self):
        scores, ids, mask = batch([([1, 2], [0.5, 1.0]), ([1], [2.0])], 3, False)
        mask[1] = 0
        scores = scores.nan_to_num(5.0).requires_grad_()
        losses = divergence_losses(scores, scores * 2, ids, ids, mask, mask)
        losses.sum().backward()
        assert losses.tolist() == [0.0, 0.0] and not scores.grad.any()

    @settings(max_examples=60, deadline=None)
    @given(data=st.data(), left=st.booleans(), margin=st.sampled_from([0.0, 0.7]), centering=st.sampled_from([0.0, 0.1]))
    def test_equals_a_loop_over_tokens_on_either_side_of_the_padding(self, data, left, margin, centering):
        value = st.floats(-3, 3, allow_nan=False)

        def answers():
            pairs = st.lists(st.tuples(st.integers(1, 3), value), min_size=1, max_size=6)
            return [tuple(map(list, zip(*data.draw(pairs), strict=True))) for _ in range(3)]

        chosen, rejected = answers(), answers()
        widths = data.draw(st.integers(6, 9)), data.draw(st.integers(6, 9))
        c, r = batch(chosen, widths[0], left), batch(rejected, widths[1], left)
        losses = divergence_losses(c[0], r[0], c[1], r[1], c[2], r[2], margin=margin, centering=centering)
        torch.testing.assert_close(losses, double(*loop(chosen, rejected, margin, centering)))

    def test_gradcheck(self):
        ids, other = torch.tensor([[1, 2, 3, 9]]), torch.tensor([[1, 4, 9, 9]])
        mask, shorter = torch.tensor([[1, 1, 1, 0]]), torch.tensor([[1, 1, 0, 0]])
        scores = [torch.randn(1, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(i), requires_grad=True) for i in (0, 1)]
        assert torch.autograd.gradcheck(lambda c, r: divergence_losses(c, r, ids, other, mask, shorter, centering=0.1), scores)
        divergence_losses(*scores, ids, other, mask, shorter).sum().backward()
        assert scores[0].grad[0, 3] == scores[1].grad[0, 3] == scores[1].grad[0, 2] == 0  # padding
