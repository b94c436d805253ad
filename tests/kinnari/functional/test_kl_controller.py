"""The adaptive coefficient against numbers worked by hand from the published rule, and what it does in the long run."""

import math

import pytest

from kinnari.functional.kl_controller import AdaptiveKL, FixedKL


@pytest.mark.parametrize(
    ("kl", "sequences", "factor"),
    [(6.0, 64, 1.0), (6.6, 1000, 1.01), (60.0, 1000, 1.02), (0.0, 1000, 0.98), (-5.0, 10_000, 0.8), (5.4, 5000, 0.95)],
)
def test_one_update_changes_by_the_clipped_error_times_the_share_of_the_horizon(kl, sequences, factor):
    controller = AdaptiveKL(0.1, target=6.0, horizon=10_000)
    controller.update(kl, sequences)
    assert controller.coefficient == pytest.approx(0.1 * factor)


def test_it_settles_where_the_penalty_keeps_the_target():
    # a policy that drifts as far as the penalty allows: kl = 1 / coefficient
    controller = AdaptiveKL(0.01, target=5.0, horizon=100)
    for _ in range(500):
        controller.update(1 / controller.coefficient, 10)
    assert controller.coefficient == pytest.approx(0.2, rel=0.01)


def test_a_batch_beyond_the_horizon_never_turns_the_penalty_into_a_reward():
    controller = AdaptiveKL(0.1, target=6.0, horizon=10)
    controller.update(0.0, 1000)
    assert controller.coefficient == 0.0


def test_a_kl_that_is_no_number_changes_nothing():
    controller = AdaptiveKL(0.1)
    controller.update(math.nan, 64)
    assert controller.coefficient == 0.1


def test_a_fixed_coefficient_stays():
    controller = FixedKL(0.02)
    controller.update(100.0, 64)
    assert controller.coefficient == 0.02


@pytest.mark.parametrize("make", [lambda: AdaptiveKL(0.1), lambda: FixedKL(0.1)])
def test_state_goes_on_where_it_was(make):
    one, other = make(), make()
    one.update(20.0, 5000)
    other.load_state_dict(one.state_dict())
    assert other.coefficient == one.coefficient


@pytest.mark.parametrize(
    "arguments", [{"coefficient": -0.1}, {"target": 0}, {"horizon": 0}, {"target": math.nan}, {"coefficient": math.nan}]
)
def test_settings_that_mean_nothing_are_refused(arguments):
    with pytest.raises(ValueError, match=r"0 or more|above 0"):
        AdaptiveKL(**arguments)
    if "coefficient" in arguments:
        with pytest.raises(ValueError, match="0 or more"):
            FixedKL(**arguments)
