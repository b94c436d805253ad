"""A model put together again from its trained tensors is the model that was trained."""

import pytest
import torch

from kinnari.export.trained import rebuild_from_state
from kinnari.models.load import load_model
from kinnari.strategies.tuning import Tuning, apply_tuning, quantization_config
from tests.kinnari.models.specs import toy_spec

IDS = torch.randint(6, 262, (2, 16), generator=torch.Generator().manual_seed(0))
REBUILD = {"base_dtype": torch.float32, "compute_dtype": torch.float32, "seed": 3}


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KINNARI_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def trained(tuning: Tuning):
    quantization = quantization_config(tuning, torch.float32, sharded=False)
    model = load_model(toy_spec(), dtype=torch.float32, quantization=quantization, seed=3)
    model = apply_tuning(model, tuning, toy_spec())
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return model, {key: p.detach().clone() for key, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("name", ["full", "lora", "qlora", "lora_int8"])
def test_rebuilt_model_equals_the_trained_one(name):
    tuning = Tuning(name=name, gradient_checkpointing=True)
    model, state = trained(tuning)
    rebuilt = rebuild_from_state(toy_spec(), tuning, state, **REBUILD)
    with torch.no_grad():
        assert torch.equal(rebuilt(input_ids=IDS).logits, model.eval()(input_ids=IDS).logits)


@pytest.mark.parametrize("change", ["missing", "shape", "rank"])
def test_a_state_of_another_run_is_refused(change):
    tuning = Tuning(name="lora")
    _, state = trained(tuning)
    key = next(iter(state))
    if change == "missing":
        del state[key]
    elif change == "shape":
        state[key] = state[key][:, 1:]
    else:
        tuning = Tuning(name="lora", r=4)
    with pytest.raises(ValueError, match=r"trained state|shape"):
        rebuild_from_state(toy_spec(), tuning, state, **REBUILD)
