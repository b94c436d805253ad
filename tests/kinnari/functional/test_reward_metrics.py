"""What is said of a reward model on held-out pairs."""

import math

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import binary_calibration_error

from kinnari.functional.reward_metrics import PairScores, correlation


def scores(chosen, rejected, names=None):
    found = PairScores()
    count = len(chosen)
    columns = (chosen, rejected, [0.5] * count, list(range(1, count + 1)), [2] * count)
    found.add(names or [f"s:{i}" for i in range(count)], *(torch.tensor(column) for column in columns))
    return found


def test_accuracy_and_margin_by_hand_with_a_tie_counted_wrong():
    found = scores([2.0, 1.0, 3.0, 0.0], [1.0, 1.0, 5.0, -1.0]).metrics()

    assert found["reward_accuracy"] == 0.5
    assert found["reward_margin"] == (1 + 0 - 2 + 1) / 4
    assert found["loss"] == 0.5


def test_each_source_has_its_accuracy_where_there_are_several():
    found = scores([2.0, 1.0, 3.0], [1.0, 2.0, 2.0], ["a:1/0-1", "a:2/0-1", "b:1/0-1"]).metrics()

    assert (found["reward_accuracy/a"], found["reward_accuracy/b"]) == (0.5, 1.0)
    assert "reward_accuracy/s" not in scores([2.0], [1.0]).metrics()


def test_calibration_is_that_of_torchmetrics():
    generator = torch.Generator().manual_seed(3)
    found = scores(torch.randn(200, generator=generator).tolist(), torch.randn(200, generator=generator).tolist())
    confidence, right = found.confidences()

    # torchmetrics bins (a, b]; no confidence lies on an edge here
    assert found.calibration_error() == pytest.approx(float(binary_calibration_error(confidence, right, n_bins=10, norm="l1")), abs=1e-6)


def test_a_model_that_is_sure_and_right_is_calibrated_and_one_that_is_sure_and_wrong_is_not():
    assert scores([40.0] * 8, [-40.0] * 8).calibration_error() == pytest.approx(0.0)
    assert scores([-40.0] * 8, [40.0] * 8).calibration_error() == pytest.approx(1.0)


def test_correlation_is_pearsons_and_nothing_where_nothing_varies():
    x, y = np.random.default_rng(1).normal(size=(2, 50))

    assert correlation(torch.tensor(x), torch.tensor(y)) == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert correlation(torch.tensor(x), torch.ones(50, dtype=torch.float64)) == 0.0


def test_ranks_together_say_what_one_would():
    whole = scores([2.0, 1.0, 3.0], [1.0, 2.0, 2.0])
    parts = scores([3.0], [2.0], ["s:2"]), scores([2.0, 1.0], [1.0, 2.0], ["s:0", "s:1"])

    joined = PairScores.joined(parts)
    assert (joined.record_ids, joined.chosen, joined.rejected) == (whole.record_ids, whole.chosen, whole.rejected)


def test_without_a_pair_there_is_no_number():
    assert math.isnan(PairScores().metrics()["reward_accuracy"])
