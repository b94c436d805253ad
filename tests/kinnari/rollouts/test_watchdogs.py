"""Each fault of PPO is found in numbers that show it, not in healthy ones, and told once."""

import io
import math
import os
from typing import Any

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st

from kinnari.errors import ConfigError
from kinnari.rollouts.rollout import Rollout
from kinnari.rollouts.settings import PPOSettings
from kinnari.rollouts.watchdog_rules import RULES, WatchdogLimits, check_names
from kinnari.rollouts.watchdogs import KEPT, RunWatch, measured
from kinnari.text.prompts import Prompt
from tests.distributed import run_ranks

HEALTHY = {
    "score": 1.0, "score_std": 0.5, "response_tokens": 20.0, "eos_rate": 0.9, "kl": 2.0, "kl_error": 0.1, "kl_k3": 2.0, "kl_coef": 0.1,
    "explained_variance": 0.4, "entropy": 2.0, "clip_fraction": 0.1, "approx_kl": 0.01, "first_ratio_error": 1e-6, "distinct": 0.95,
    "same_answer": 0.05,
}  # fmt: skip
STEADY = [HEALTHY] * 6


def told(rows, *, ppo=None, precision="32-true", watch=None, **limits):
    """(iteration, name) of every finding."""
    watch = watch or RunWatch(WatchdogLimits(**limits), ppo, precision)
    for i, row in enumerate(rows):
        watch.look(i, row)
    return [(finding["iteration"], finding["name"]) for finding in watch.findings]


def then(**changed):
    """Three healthy iterations and three that are not."""
    return [HEALTHY] * 3 + [HEALTHY | changed] * 3


# (iterations, the finding, settings of PPO): the mean of the window of three crosses the limit in the iteration that is named
FAULTS: dict[str, Any] = {
    # means 0.667, -0.667: 3 standard errors are 3 x sqrt(3 x 0.1²)/3 = 0.173
    "negative_kl": (then(kl=-2.0), (4, "negative_kl"), {}),
    "ratio_not_1": ([HEALTHY, HEALTHY | {"first_ratio_error": 2e-3}], (1, "ratio_not_1"), {}),
    # means 1.367, 0.733, 0.1 against 0.2 x 2.0
    "entropy_collapse": (then(entropy=0.1), (5, "entropy_collapse"), {}),
    "answers_never_end": ([HEALTHY | {"eos_rate": 0.03}] * 3, (2, "answers_never_end"), {}),
    # means 0.65, 0.4, 0.15 against 0.3 x 0.9
    "eos_rate_falls": (then(eos_rate=0.15), (5, "eos_rate_falls"), {}),
    # means 33.3, 46.7 against 2 x 20
    "length_drift": (then(response_tokens=60.0), (4, "length_drift"), {}),
    # means 14.3, 8.7 against 20 / 2
    "length_drift_down": (then(response_tokens=3.0), (4, "length_drift"), {}),
    "values_explain_nothing": ([HEALTHY, *[HEALTHY | {"explained_variance": -0.1}] * 10], (10, "values_explain_nothing"), {}),
    # means 0.233, 0.367
    "clipped_too_often": (then(clip_fraction=0.5), (4, "clipped_too_often"), {}),
    # means 11.3, 20.7 against 3 x 6
    "kl_runaway": (then(kl=30.0), (4, "kl_runaway"), {}),
    # means 11.3, 20.7 against 1 nat for each of 20 tokens
    "kl_runaway_fixed": (then(kl=30.0), (4, "kl_runaway"), {"kl": "fixed"}),
    "no_signal": ([HEALTHY, *[HEALTHY | {"score_std": 0.0}] * 3], (3, "no_signal"), {}),
    # the score rises by 0.1, 0.2, 0.3 of 0.5 = 0.6 deviations; lengths 24, 28, 32 against 1.5 x 20
    "longer_for_reward": (then(score=1.3, response_tokens=32.0), (5, "longer_for_reward"), {}),
    # shares 0.833, 0.717 against 0.8 x 0.95 = 0.76; the score rises by 0.667, 1.333 deviations
    "repeating_for_reward": (then(score=2.0, distinct=0.6), (4, "repeating_for_reward"), {}),
    # shares 0.333, 0.617
    "same_answer": (then(same_answer=0.9), (4, "same_answer"), {}),
}


def test_every_rule_is_tried():
    assert {name for _, (_, name), _ in FAULTS.values()} == set(RULES)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_when_its_mean_crosses_the_limit_and_nothing_else_is(fault):
    rows, expected, settings = FAULTS[fault]

    assert told(rows, ppo=PPOSettings(**settings)) == [expected]


def test_a_healthy_run_is_silent():
    assert told([HEALTHY] * 30) == []
    learning = [HEALTHY | {"score": 1 + 0.1 * i, "kl": 0.3 * i, "entropy": 2 - 0.05 * i, "response_tokens": 20 + i / 3} for i in range(20)]
    assert told(learning) == []


def test_negative_by_chance_is_no_finding():
    assert told([HEALTHY | {"kl": -0.02, "kl_error": 0.001}] * 5) == []  # within 0.05 nats of 0
    # 3 standard errors of the mean of three: 3 x 0.5 / sqrt(3) = 0.866
    assert told([HEALTHY | {"kl": -0.8, "kl_error": 0.5}] * 5) == []
    assert told([HEALTHY | {"kl": -0.9, "kl_error": 0.5}] * 5) == [(2, "negative_kl")]


def test_how_far_the_ratio_may_be_off_depends_on_the_precision():
    rows = [HEALTHY | {"first_ratio_error": 0.02}]
    found = {p: bool(told(rows, precision=p)) for p in ("32-true", "16-mixed", "bf16-mixed", "bf16-true")}
    assert found == {"32-true": True, "16-mixed": False, "bf16-mixed": False, "bf16-true": False}
    assert told(rows, precision="bf16-mixed", ratio_error=0.01) == [(0, "ratio_not_1")]


def test_growing_or_repeating_without_more_reward_is_no_hacking():
    assert told(then(response_tokens=32.0)) == [] and told(then(distinct=0.6)) == []
    assert told(then(score=1.2, response_tokens=32.0)) == []  # 0.4 of a deviation


def test_one_odd_iteration_is_none():
    for odd in ({"entropy": 0.1}, {"eos_rate": 0.2}, {"response_tokens": 50.0}, {"clip_fraction": 0.6}, {"kl": 40.0}, {"score_std": 0.0}):
        assert told([*STEADY, HEALTHY | odd, *STEADY]) == [], odd


def test_a_fault_is_told_once_and_again_only_after_it_had_ended():
    bad = HEALTHY | {"first_ratio_error": 0.5}

    assert told([bad] * 9) == [(0, "ratio_not_1")]
    assert told([bad, HEALTHY, HEALTHY, bad]) == [(0, "ratio_not_1")]  # two silent iterations are not its end
    assert told([bad, HEALTHY, HEALTHY, HEALTHY, bad]) == [(0, "ratio_not_1"), (4, "ratio_not_1")]


@given(st.lists(st.booleans(), max_size=40), st.integers(1, 5))
def test_between_two_reports_of_a_fault_lie_as_many_silent_iterations_as_the_window_has(bad, window):
    rows = [HEALTHY | {"first_ratio_error": 1.0 if b else 0.0} for b in bad]
    expected, silence = [], window  # the slow way: count back from each bad iteration
    for i, b in enumerate(bad):
        if b and silence >= window:
            expected.append((i, "ratio_not_1"))
        silence = 0 if b else silence + 1
    assert told(rows, window=window) == expected


@pytest.mark.parametrize("cut", range(1, 6))
def test_a_resumed_watch_finds_what_the_uninterrupted_one_does(cut):
    rows = [*then(kl=30.0, entropy=0.1), *STEADY, *then(kl=30.0)[3:]]
    whole, begun = (RunWatch(WatchdogLimits()) for _ in range(2))
    expected = told(rows, watch=whole)
    told(rows[:cut], watch=begun)
    buffer = io.BytesIO()
    torch.save(begun.state_dict(), buffer)
    buffer.seek(0)
    again = RunWatch(WatchdogLimits())
    again.load_state_dict(torch.load(buffer, weights_only=True))
    for i, row in enumerate(rows[cut:]):
        again.look(cut + i, row)

    assert len(expected) > 2
    assert again.state_dict() == whole.state_dict()


def test_numbers_that_are_no_numbers_are_no_finding():
    assert told([dict.fromkeys(HEALTHY, math.nan)] * 12) == []


def test_a_message_names_the_numbers_and_what_to_change():
    watch = RunWatch(WatchdogLimits(), PPOSettings(clip=0.2))
    told(then(clip_fraction=0.5), watch=watch)

    message = watch.findings[0]["message"]
    assert message.startswith("37% of the tokens have their ratio clipped at 0.2") and "ppo.target_kl" in message
    watches = [RunWatch(WatchdogLimits(), PPOSettings(**settings)) for _, _, settings in FAULTS.values()]
    for watch, (rows, _, _) in zip(watches, FAULTS.values(), strict=True):
        told(rows, watch=watch)
        assert "\n" not in watch.findings[0]["message"] and "nan" not in watch.findings[0]["message"]


@pytest.mark.parametrize(
    ("limits", "match"),
    [({"window": 0}, "window=0"), ({"first": 1.5}, "first=1.5"), ({"length_drift": 1.0}, "length_drift=1.0"),
     ({"entropy": 1.2}, "entropy=1.2"), ({"negative_kl": -1.0}, "negative_kl=-1.0"), ({"ratio_error": math.nan}, "ratio_error=nan")],
)  # fmt: skip
def test_impossible_limits_are_refused(limits, match):
    with pytest.raises(ConfigError, match=match):
        WatchdogLimits(**limits)


def test_a_rule_that_does_not_exist_is_refused():
    check_names(list(RULES))
    with pytest.raises(ConfigError, match="stop_on=kl_explodes"):
        check_names(["negative_kl", "kl_explodes"])


# --- what is measured ------------------------------------------------------------------------------------------------------


def rollout(text, ids, score, kl):
    made = Rollout(Prompt((), [1], "r:0", ""), ids, text, finished=True, score=score)
    made.numbers = {"logprobs": torch.full((len(ids),), -1.0), "ref_logprobs": torch.full((len(ids),), -1.0 - kl / max(1, len(ids)))}
    return made


ANSWERS = [
    rollout("a", [5, 5, 5, 5, 5], 1.0, 0.5),  # one 3-gram three times
    rollout(" a", [5, 6, 7, 8], 3.0, 1.5),  # two 3-grams
    rollout("b", [9, 2], 1.0, 2.5),  # none
    rollout("", [2], 3.0, -0.5),
]
METRICS = dict.fromkeys(KEPT, 1.0)


def test_answers_by_hand():
    found = measured(METRICS, ANSWERS)

    assert found["score_std"] == 1.0
    # KLs 0.5, 1.5, 2.5, -0.5: mean 1, variance (0.25 + 0.25 + 2.25 + 2.25) / 3 = 5/3, of the mean of four 5/12
    assert found["kl_error"] == pytest.approx(math.sqrt(5 / 12))
    assert found["distinct"] == pytest.approx((1 + 2) / (3 + 2))
    assert found["same_answer"] == 0.5  # "a" and " a"
    assert set(found) == set(HEALTHY)


def test_answers_too_short_to_repeat_themselves_say_nothing_of_repetition():
    found = measured(METRICS, ANSWERS[2:])
    assert math.isnan(found["distinct"])


def test_one_answer_an_iteration_says_nothing_of_spread():
    one = measured(METRICS, ANSWERS[:1])
    assert one["kl_error"] == math.inf and math.isnan(one["score_std"])
    assert told([HEALTHY | {"kl": -9.0, "kl_error": math.inf, "score_std": math.nan}] * 12) == []


def measured_on_a_rank():
    dist.init_process_group("gloo")
    rank = int(os.environ["RANK"])
    found = measured(METRICS, ANSWERS[rank::2])
    dist.destroy_process_group()
    return found


@pytest.mark.slow
def test_every_rank_measures_the_answers_of_all():
    first, second = run_ranks(measured_on_a_rank, 2)

    assert first == second == pytest.approx(measured(METRICS, ANSWERS))
