"""Gradient checkpointing lowers what is kept for the backward pass, and changes no number."""

import pytest
import torch

from kinnari.models.load import load_model
from kinnari.strategies.tuning import Tuning, apply_tuning
from kinnari.tasks.build import model_spec
from kinnari.tasks.compose import compose
from lightning_modules import CausalLMSFT


@pytest.fixture(scope="module")
def spec():
    return model_spec(compose(["model=tiny_causal"]))


def module_of(spec, tuning, checkpointing):
    torch.manual_seed(0)
    model = load_model(spec, dtype=torch.float32)
    model = apply_tuning(model, Tuning(name=tuning, gradient_checkpointing=checkpointing), spec)
    return CausalLMSFT(model.train(), packing=spec.packing)


def kept_bytes_and_gradients(module):
    """Bytes of distinct tensors saved between forward and backward (weights left out), and the gradients."""
    weights = {p.data_ptr() for p in module.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor):
        if tensor.data_ptr() not in weights:
            kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    ids = torch.arange(256).view(2, 128)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids, "record_ids": [], "step_tokens": 254}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = module(batch)[0]
    loss.backward()
    return sum(kept.values()), {n: p.grad for n, p in module.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_less_is_kept_and_the_gradients_are_the_same(spec, tuning):
    plain, expected = kept_bytes_and_gradients(module_of(spec, tuning, checkpointing=False))
    recomputed, gradients = kept_bytes_and_gradients(module_of(spec, tuning, checkpointing=True))

    assert recomputed < 0.5 * plain
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-5, atol=1e-6)
