"""Rewards per token, advantages and whitening against hand-worked numbers and against slow loops with random masks."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinnari.functional.rl_advantages import gae, token_rewards, whiten
from kinnari.functional.running_moments import merged, moments_of

NAN = math.nan


def double(rows):
    return torch.tensor(rows, dtype=torch.float64)


def random_case(seed, rows, width):
    """(rewards, values, mask): masks with holes, empty rows too; NaN and infinity wherever nothing may be read."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(rows, width, generator=generator) < torch.rand(rows, 1, generator=generator)
    numbers = torch.randn(2, rows, width, generator=generator, dtype=torch.float64)
    rewards, values = (torch.where(mask, part, junk) for part, junk in zip(numbers, (NAN, math.inf), strict=True))
    return rewards, values, mask


class TestTokenRewards:
    def test_hand_worked_answers(self):
        # left-padded prompt, three tokens, padding after the end; then one token at the very end; then an answer of nothing
        mask = torch.tensor([[0, 1, 1, 1, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]])
        kl = double([[NAN, 1.0, -2.0, 3.0, NAN], [9, 9, 9, 9, 0.5], [9, 9, 9, 9, 9]])
        rewards = token_rewards(double([10.0, -1.0, 7.0]), kl, mask, 0.1)
        torch.testing.assert_close(rewards, double([[0, -0.1, 0.2, 9.7, 0], [0, 0, 0, 0, -1.05], [0, 0, 0, 0, 0]]))

    def test_they_carry_no_gradient_into_the_policy(self):
        kl = torch.ones(1, 2, requires_grad=True)
        assert not token_rewards(torch.ones(1, requires_grad=True), kl, torch.ones(1, 2), 0.1).requires_grad


class TestGae:
    def test_hand_worked_row(self):
        # gamma 1/2, lambda 1/2, values 1 2 4, reward 8 at the end
        # delta: 0 + 1 - 1 = 0,  0 + 2 - 2 = 0,  8 - 4 = 4;  advantages: 4/16, 4/4, 4
        found = gae(double([[0, 0, 8.0]]), double([[1, 2, 4.0]]), torch.ones(1, 3), gamma=0.5, lam=0.5)
        torch.testing.assert_close(found.advantages, double([[0.25, 1, 4]]))
        torch.testing.assert_close(found.returns, double([[1.25, 3, 8]]))

    def test_lambda_one_is_the_reward_to_come_and_lambda_zero_one_step(self):
        rewards, values = double([[1.0, 2.0, 3.0]]), double([[0.5, -1.0, 2.0]])
        torch.testing.assert_close(gae(rewards, values, torch.ones(1, 3), lam=1.0).returns, double([[6.0, 5.0, 3.0]]))
        torch.testing.assert_close(gae(rewards, values, torch.ones(1, 3), lam=0.0).advantages, double([[-0.5, 5.0, 1.0]]))

    def test_padding_after_the_end_changes_nothing_and_gets_nothing(self):
        rewards, values = double([[0.1, 5.0]]), double([[1.0, 2.0]])
        alone = gae(rewards, values, torch.ones(1, 2))
        padded = gae(double([[NAN, 0.1, 5.0, 7.0]]), double([[3.0, 1.0, 2.0, NAN]]), torch.tensor([[0, 1, 1, 0]]))
        for one, other in zip(alone, padded, strict=True):
            torch.testing.assert_close(other[:, 1:3], one)
            assert not other[:, [0, 3]].any()

    @settings(max_examples=60, deadline=None)
    @given(seed=st.integers(0, 10_000), rows=st.integers(1, 4), width=st.integers(1, 9), gamma=st.floats(0, 1), lam=st.floats(0, 1))
    def test_equals_the_sum_of_equation_16_over_the_tokens_there_are(self, seed, rows, width, gamma, lam):
        rewards, values, mask = random_case(seed, rows, width)
        expected = torch.zeros(2, rows, width, dtype=torch.float64)
        for row in range(rows):
            places = [t for t in range(width) if mask[row, t]]
            r, v = [float(rewards[row, t]) for t in places], [float(values[row, t]) for t in places]
            deltas = [r[i] + gamma * (v[i + 1] if i + 1 < len(v) else 0.0) - v[i] for i in range(len(v))]
            for i, t in enumerate(places):
                expected[0, row, t] = sum((gamma * lam) ** step * delta for step, delta in enumerate(deltas[i:]))
                expected[1, row, t] = expected[0, row, t] + v[i]
        found = gae(rewards, values, mask, gamma=gamma, lam=lam)
        torch.testing.assert_close(torch.stack(found), expected)
        assert torch.equal(gae(rewards, values, mask.long(), gamma=gamma, lam=lam).returns, found.returns)

    def test_no_position_at_all_is_no_error(self):
        assert gae(torch.zeros(2, 0), torch.zeros(2, 0), torch.zeros(2, 0)).advantages.shape == (2, 0)


class TestWhiten:
    def test_hand_worked_numbers(self):
        # 1, 3 and 5 without the 99: mean 3, variance 8/3
        white = whiten(double([[1.0, 99.0, 3.0, 5.0]]), torch.tensor([[1, 0, 1, 1]]), eps=0.0)
        step = 2 / math.sqrt(8 / 3)
        torch.testing.assert_close(white, double([[-step, 0.0, 0.0, step]]))
        kept = whiten(double([[1.0, 99.0, 3.0, 5.0]]), torch.tensor([[1, 0, 1, 1]]), shift_mean=False, eps=0.0)
        torch.testing.assert_close(kept, double([[3 - step, 0.0, 3.0, 3 + step]]))

    @settings(max_examples=40, deadline=None)
    @given(seed=st.integers(0, 10_000), rows=st.integers(2, 5), width=st.integers(1, 8), shift_mean=st.booleans())
    def test_micro_batches_with_common_moments_are_whitened_as_the_whole(self, seed, rows, width, shift_mean):
        values, _, mask = random_case(seed, rows, width)
        whole = whiten(values, mask, shift_mean=shift_mean)
        assert whole.isfinite().all()
        common = merged(moments_of(values[:1], mask[:1]), moments_of(values[1:], mask[1:]))
        parts = [whiten(values[part], mask[part], moments=common, shift_mean=shift_mean) for part in (slice(0, 1), slice(1, None))]
        torch.testing.assert_close(torch.cat(parts), whole)
        if int(mask.sum()) > 1:
            assert float(moments_of(whole, mask).variance) == pytest.approx(1.0, abs=1e-3)

    def test_equal_numbers_one_number_and_none_stay_finite(self):
        assert whiten(torch.full((1, 3), 7.0), torch.ones(1, 3)).abs().max() < 1e-3
        assert whiten(torch.tensor([[7.0]]), torch.ones(1, 1)).tolist() == [[0.0]]
        assert whiten(torch.tensor([[NAN]]), torch.zeros(1, 1)).tolist() == [[0.0]]
