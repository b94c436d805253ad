"""Every model file x every tuning: a few real optimizer steps through the Lightning module, at toy size."""

from __future__ import annotations

import math

import pytest
from peft.tuners.lora import LoraLayer

from kinnari.models.quantized import is_quantized_parameter
from tests.end_to_end.shrunk_models import MODELS, TUNINGS, shrunk_spec, trained


@pytest.fixture(autouse=True, scope="module")
def _cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KINNARI_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.mark.parametrize("how", TUNINGS)
@pytest.mark.parametrize("name", MODELS)
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
