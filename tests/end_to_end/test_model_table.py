"""Every model file x every tuning: a few real optimizer steps through the Lightning module, at toy size."""

from __future__ import annotations

import math

import pytest
import torch
from peft.tuners.lora import LoraLayer

from kinnari.models.quantized import is_quantized_parameter
from kinnari.models.reward import RewardSettings
from kinnari.strategies.fine_tuning import FineTuningSettings
from lightning_modules import RewardModel
from tests.end_to_end.shrunk_models import ENCODERS, TUNINGS, WRITERS, shrunk_spec, trained, tuned


@pytest.fixture(autouse=True, scope="module")
def _cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KINNARI_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.mark.parametrize("how", TUNINGS)
@pytest.mark.parametrize("name", WRITERS)
def test_a_step_lowers_the_loss_and_changes_what_should_be_trained_alone(name, how):
    spec, run = shrunk_spec(name), trained(name, how)
    parameters = dict(run.module.model.named_parameters())

    assert math.isfinite(run.before) and run.after < run.before
    assert set(spec.block_classes) <= run.classes
    assert run.changed <= run.trainable
    if how == "full":
        assert run.trainable == set(parameters)
        # a bias of the keys alone adds the same to every score of a query, so it has no gradient
        assert {key for key in run.trainable - run.changed if parameters[key].dim() > 1} == set()
    else:
        assert all("lora_" in key for key in run.trainable)
        assert run.changed == run.trainable
        adapted = {key.rsplit(".", 1)[-1] for key, part in run.module.model.named_modules() if isinstance(part, LoraLayer)}
        assert adapted == set(spec.lora_targets)
    few_bits = any(is_quantized_parameter(parameter) for parameter in parameters.values())
    assert few_bits == (how in ("qlora", "lora_int8"))


@pytest.mark.parametrize("how", TUNINGS)
@pytest.mark.parametrize("name", ENCODERS[:2])
def test_steps_as_a_reward_model_lower_the_loss_of_an_encoder(name, how):
    spec = shrunk_spec(name)
    model = tuned(name, how)
    start = {key: parameter.detach().clone() for key, parameter in model.named_parameters()}
    module = RewardModel(model, FineTuningSettings(block_classes=spec.block_classes), RewardSettings(freeze_fraction=0.0))
    ids = torch.tensor([[1, 30, 31, 2, 2, 40, 2, 0], [1, 30, 31, 2, 2, 50, 51, 2]])
    labels = ids.masked_fill((ids == 0) | (torch.arange(8) < 5), -100)
    batch = {"input_ids": ids, "attention_mask": (ids != 0).long(), "labels": labels, "record_ids": ["s:0"], "step_tokens": 1}
    trained_parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained_parameters, lr=1e-2)
    losses = []
    for _ in range(6):
        optimizer.zero_grad()
        loss = module(batch)[0]
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))

    assert math.isfinite(losses[0]) and losses[-1] < losses[0]
    assert {type(part).__name__ for part in model.modules()} >= set(spec.block_classes)
    changed = {key for key, parameter in model.named_parameters() if not torch.equal(start[key], parameter.detach())}
    assert changed and changed <= {key for key, parameter in model.named_parameters() if parameter.requires_grad}
    if how != "full":
        adapted = {key.rsplit(".", 1)[-1] for key, part in model.named_modules() if isinstance(part, LoraLayer)}
        assert adapted == set(spec.lora_targets) and all("lora_" in key for key in changed)
    assert any(is_quantized_parameter(parameter) for parameter in model.parameters()) == (how in ("qlora", "lora_int8"))
