"""The moving average of weights."""

import pytest
import torch

from kinnari.errors import ConfigError
from kinnari.strategies.ema import MovingAverage


def line(value: float) -> torch.nn.Linear:
    module = torch.nn.Linear(2, 1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(value)
    return module


def set_to(module: torch.nn.Module, value: float) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(value)


def test_three_steps_by_hand():
    module = line(1.0)
    average = MovingAverage(module, beta=0.75)
    average.place()

    found = []
    for value in (5.0, 1.0, -3.0):
        set_to(module, value)
        average.update()
        found.append(float(average.state_dict()["bias"]))

    # 0.75 * 1 + 0.25 * 5 = 2;  0.75 * 2 + 0.25 * 1 = 1.75;  0.75 * 1.75 - 0.25 * 3 = 0.5625
    assert found == pytest.approx([2.0, 1.75, 0.5625])
    assert float(module.bias) == -3.0  # the weights themselves are left alone


def test_only_wanted_trained_parameters_are_averaged_and_in_float32():
    module = torch.nn.ModuleDict({"policy": line(1.0).bfloat16(), "critic": line(1.0), "base": line(1.0).requires_grad_(False)})
    average = MovingAverage(module, 0.9, lambda name: not name.startswith("critic"))
    average.place()

    state = average.state_dict()
    assert state.keys() == {"policy.weight", "policy.bias"}
    assert all(tensor.dtype == torch.float32 for tensor in state.values())


def test_a_saved_average_goes_on_where_it_was():
    one, two = line(1.0), line(1.0)
    whole, resumed = MovingAverage(one, 0.9), MovingAverage(two, 0.9)
    whole.place()
    set_to(one, 2.0)
    whole.update()

    resumed.load_state_dict(whole.state_dict())
    set_to(two, 2.0)
    resumed.place()
    for module, average in ((one, whole), (two, resumed)):
        set_to(module, 7.0)
        average.update()

    assert torch.equal(whole.state_dict()["weight"], resumed.state_dict()["weight"])


def test_the_average_of_another_model_is_refused():
    average = MovingAverage(line(1.0), 0.9)
    average.load_state_dict({"other": torch.zeros(1)})

    with pytest.raises(ConfigError, match="other parameters"):
        average.place()
