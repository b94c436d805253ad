"""One process whose model lies on several devices trains, saves and resumes as it does on one (hooks on the CPU stand in for GPUs)."""

from __future__ import annotations

import pytest
import pytorch_lightning as pl
import torch
from accelerate import dispatch_model

from kinnari.models.placement import is_spread, release_head
from kinnari.strategies.microbatches import gradient_norm
from tests.kinnari.strategies.toy import toy_model, train


def spread_model(tuning):
    """The toy under accelerate's hooks, marked as lying on two devices, so that the strategy must leave it where it is."""
    model = toy_model(tuning)
    base = model.get_base_model() if tuning == "lora" else model
    places = dict.fromkeys((name for name, module in base.named_modules() if not list(module.children()) and module.state_dict()), "cpu")
    dispatch_model(base, places, force_hooks=True, skip_keys=base._skip_keys_device_placement)
    release_head(base)
    base.hf_device_map = {"model": 0, "lm_head": 1}
    assert is_spread(model)
    return model


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_a_spread_model_trains_the_curve_of_one_device_and_resumes(tuning, one_thread, tmp_path, monkeypatch):
    plain = train("single", tuning=tuning, clip=0.5)

    def moved(module, *arguments, **keywords):
        raise AssertionError("Lightning moved the model")

    monkeypatch.setattr(pl.LightningModule, "to", moved)
    monkeypatch.setattr(pl.LightningModule, "cpu", moved)
    spread = train("single", model=spread_model(tuning), clip=0.5, save=tmp_path / "a.ckpt")
    resumed = train("single", model=spread_model(tuning), clip=0.5, resume=tmp_path / "a.ckpt")
    assert spread["losses"] == plain["losses"] and spread["norms"] == plain["norms"]
    assert resumed["losses"] == plain["losses"][-len(resumed["losses"]) :] and len(resumed["losses"]) < len(plain["losses"])
    for name, tensor in plain["weights"].items():
        assert torch.equal(spread["weights"][name], tensor) and torch.equal(resumed["weights"][name], tensor)


def test_the_norm_is_over_all_gradients():
    parameters = [torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(3))]
    parameters[0].grad, parameters[1].grad = torch.tensor([2.0, 3.0]), torch.tensor([6.0])
    assert float(gradient_norm(parameters)) == 7.0  # sqrt(4 + 9 + 36); the third has no gradient
