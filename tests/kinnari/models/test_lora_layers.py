"""LoRA layers with the fused update against PEFT's own."""

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora.layer import Linear
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from kinnari.models.lora_layers import FusedLoraLinear, fuse_lora


def tiny(dropout=0.0, bias=False, **options):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=31, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, attention_bias=bias
    )
    lora = LoraConfig(r=3, lora_alpha=5, lora_dropout=dropout, target_modules=["q_proj", "v_proj", "down_proj"], **options)
    model = get_peft_model(LlamaForCausalLM(config), lora)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            nn.init.normal_(parameter, std=0.3)  # B starts at zero, which would hide A's gradient
    return model


def logits_and_gradients(model):
    torch.manual_seed(5)
    model.zero_grad()
    out = model(input_ids=torch.arange(12).reshape(2, 6)).logits
    out.square().sum().backward()
    return out.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("bias", [False, True])
def test_logits_and_gradients_equal_pefts(bias):
    plain = tiny(bias=bias).train()
    fused = copy.deepcopy(plain)
    assert fuse_lora(fused) == 6
    logits, gradients = logits_and_gradients(plain)
    mine, my_gradients = logits_and_gradients(fused)
    torch.testing.assert_close(mine, logits)
    assert gradients.keys() == my_gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(my_gradients[name], gradient, rtol=1e-4, atol=1e-5)


def test_names_and_parameters_stay():
    model = tiny()
    before = {name: id(p) for name, p in model.named_parameters()}
    fuse_lora(model)
    assert {name: id(p) for name, p in model.named_parameters()} == before


def test_dropout_acts_in_training_alone():
    model = tiny(dropout=0.5)
    fuse_lora(model)
    ids = torch.arange(6)[None]
    assert not torch.equal(model.train()(input_ids=ids).logits, model(input_ids=ids).logits)
    model.eval()
    assert torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)


def test_dropout_keeps_the_expected_output():
    model = tiny(dropout=0.3)
    fuse_lora(model)
    layer = next(m for m in model.modules() if isinstance(m, FusedLoraLinear))
    x = torch.randn(16).expand(40_000, 16)
    with torch.no_grad():
        noisy, clean = layer.train()(x).mean(0), layer.eval()(x[:1])[0]
    torch.testing.assert_close(noisy, clean, rtol=0.05, atol=0.03)


def test_gradient_checkpointing_draws_the_same_mask_again():
    model = tiny(dropout=0.5).train()
    fuse_lora(model)
    _, gradients = logits_and_gradients(model)
    model.get_base_model().gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    _, again = logits_and_gradients(model)
    for name, gradient in gradients.items():
        torch.testing.assert_close(again[name], gradient)


def test_merged_and_disabled_adapters_go_pefts_way():
    model = tiny().eval()
    fuse_lora(model)
    ids = torch.arange(6)[None]
    adapted = model(input_ids=ids).logits
    with model.disable_adapter():
        base = model(input_ids=ids).logits
    assert not torch.allclose(adapted, base)
    merged = model.merge_and_unload()(input_ids=ids).logits
    torch.testing.assert_close(merged, adapted, rtol=1e-4, atol=1e-4)


def test_dora_layers_stay_pefts():
    model = tiny(use_dora=True)
    assert fuse_lora(model) == 0
    assert not any(isinstance(m, FusedLoraLinear) for m in model.modules())
    assert any(isinstance(m, Linear) for m in model.modules())
