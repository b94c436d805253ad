"""Bytes of a quantised blueprint against those of a model that was really quantised."""

from __future__ import annotations

import pytest
import torch

from kinnari.models.load import load_model
from kinnari.planning.blueprint import Making
from kinnari.planning.trace import sizes_of
from kinnari.strategies.tuning import Tuning, quantization_config
from tests.kinnari.planning.specs import spec_of

MAKING = Making(weights=torch.float32, trained=torch.float32, compute=torch.float32, fused=True, storage=torch.uint8)


@pytest.mark.parametrize("tuning", [Tuning(name="qlora"), Tuning(name="qlora", double_quant=False), Tuning(name="lora_int8")], ids=str)
@pytest.mark.parametrize("model", ["tiny_causal", "tiny_seq2seq"])
def test_a_quantised_base_has_the_bytes_of_one_that_was_quantised(model, tuning):
    spec = spec_of(model)
    real = load_model(spec, dtype=torch.float32, quantization=quantization_config(tuning, torch.float32, sharded=False))
    assert sizes_of(spec, tuning, MAKING, "adamw").frozen_bytes == held_bytes(real)


def held_bytes(model) -> int:
    tensors = {id(parameter): parameter for parameter in model.parameters()}
    for module in model.modules():
        weight = vars(module).get("_parameters", {}).get("weight")
        if type(weight).__name__ == "Params4bit":
            state = weight.quant_state
            inner = [state.state2.absmax, state.state2.code, state.offset] if state.nested else []
            tensors |= {id(t): t for t in (state.absmax, *inner)} | {(id(module), "code"): state.code}
        elif type(weight).__name__ == "Int8Params":
            tensors[id(module)] = weight.SCB
    return sum(t.numel() * t.element_size() for t in tensors.values())


def test_double_quantisation_saves_0_37_bits_a_number():
    """QLoRA, arXiv:2305.14314, section 3: 0.5 bits for the scales become 8 / 64 + 32 / (64 * 256) = 0.127."""
    sizes = [sizes_of(spec_of("llama7b"), Tuning(name="qlora", double_quant=double), MAKING, "adamw") for double in (False, True)]
    packed = 32 * (4 * 4096**2 + 3 * 4096 * 11008)
    saved = 8 * (sizes[0].frozen_bytes - sizes[1].frozen_bytes) / packed
    assert abs(saved - (32 / 64 - 8 / 64 - 32 / (64 * 256))) < 1e-3
