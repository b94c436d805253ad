"""`model.attention` through the loader: plain weights and quantised ones, refusals, checkpoints that travel."""

import pytest
import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from kinnari.errors import ConfigError
from kinnari.models.load import load_model
from tests.kinnari.models.attention.toys import gradients, largest_gap, padded_batch
from tests.kinnari.models.specs import toy_spec

TOYS = {
    "xglm": {"model_type": "xglm", "d_model": 64, "ffn_dim": 64, "num_layers": 2, "attention_heads": 4,
             "max_position_embeddings": 64, "attention_dropout": 0.0, "dropout": 0.0},
    "bloom": {"model_type": "bloom", "hidden_size": 64, "n_layer": 2, "n_head": 4},
}  # fmt: skip
LAYERS = {"xglm": ("XGLMAttention", "SdpaXGLMAttention"), "bloom": ("BloomAttention", "SdpaBloomAttention")}


def loaded(family: str, attention: str, **arguments):
    return load_model(toy_spec(name=family, toy=TOYS[family], attention=attention), **{"dtype": torch.float32, **arguments})


@pytest.mark.parametrize("family", sorted(TOYS))
def test_auto_and_sdpa_are_sdpa_and_eager_stays_the_original(family):
    eager_layer, sdpa_layer = LAYERS[family]
    for attention in ("auto", "sdpa", "eager"):
        model = loaded(family, attention)
        classes = {type(module).__name__ for module in model.modules()}
        assert ((eager_layer in classes), (sdpa_layer in classes)) == (attention == "eager", attention != "eager")
        assert model.config._attn_implementation == ("eager" if attention == "eager" else "sdpa")


@pytest.mark.parametrize("family", sorted(TOYS))
def test_a_kernel_that_the_family_lacks_is_still_refused(family):
    with pytest.raises(ConfigError, match=r"(?i)flash"):
        loaded(family, "flash_attention_2")


@pytest.mark.parametrize("family", sorted(TOYS))
def test_four_bit_weights_give_eagers_gradients(family):
    quantization = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32)
    ids, mask, tokens = padded_batch("left")
    results = []
    for attention in ("eager", "sdpa"):
        model = loaded(family, attention, quantization=quantization)
        assert any("4bit" in type(module).__name__ for module in model.modules())
        model.get_input_embeddings().weight.requires_grad_(True)
        model.zero_grad()
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[tokens]
        logits.square().sum().backward()
        results.append((logits.detach(), {"embedding": model.get_input_embeddings().weight.grad}))
    (expected, expected_grads), (logits, grads) = results
    assert (logits - expected).abs().max() < 1e-5
    assert largest_gap(grads, expected_grads) < 1e-5 * expected_grads["embedding"].abs().max()


@pytest.mark.parametrize("family", sorted(TOYS))
def test_a_checkpoint_goes_to_plain_transformers_and_back(family, tmp_path):
    ids, mask, tokens = padded_batch("right")
    first = loaded(family, "auto")
    first.save_pretrained(tmp_path / "saved")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    plain.save_pretrained(tmp_path / "again")
    spec = toy_spec(name=family, toy=None, path=str(tmp_path / "again"))
    back = load_model(spec, dtype=torch.float32)
    for name, parameter in first.named_parameters():
        assert torch.equal(parameter, back.get_parameter(name))
    assert torch.equal(*(gradients(m, tokens, input_ids=ids, attention_mask=mask)[0] for m in (first, back)))
