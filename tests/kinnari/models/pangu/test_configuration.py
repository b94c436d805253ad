"""A config says what can be built, and the words of the public files are understood."""

import json

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import save_file
from transformers import AutoConfig

from kinnari.errors import ConfigError
from kinnari.models.load import load_model
from kinnari.models.pangu import PanguConfig
from tests.kinnari.models.pangu.toy import SIZES, pangu_spec


def test_defaults_are_the_350m_model_with_its_special_tokens():
    config = PanguConfig()
    assert (config.num_layers, config.hidden_size, config.num_heads, config.max_position_embeddings) == (24, 1024, 16, 1024)
    assert (config.vocab_size, config.bos_token_id, config.pad_token_id, config.eos_token_id) == (40000, 1, 6, 9)
    assert config.tie_word_embeddings and config.layer_norm_epsilon == 1e-5


def test_layers_and_heads_go_by_transformers_names_too():
    config = PanguConfig(num_hidden_layers=5, num_attention_heads=4)
    assert (config.num_layers, config.num_heads, config.num_hidden_layers) == (5, 4, 5)


def test_it_is_written_and_read_back(tmp_path):
    PanguConfig(**SIZES, intermediate_size=24).save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert type(config) is PanguConfig and config.intermediate_size == 24 and config.num_layers == 3
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "pangu"


BAD = {
    "num_layers": (0, "1 or more"),
    "num_heads": (5, "multiple"),
    "activation_function": ("swoosh", "swoosh"),
    "scale_attn_weights": (False, "root of the head"),
    "hidden_size": ("wide", "hidden_size"),
}


@pytest.mark.parametrize("field", BAD)
def test_what_cannot_be_built_is_refused(field, tmp_path):
    value, reason = BAD[field]
    with pytest.raises(StrictDataclassError, match=reason):
        PanguConfig(**{**SIZES, field: value})
    save_file({"transformer.ln_f.bias": torch.zeros(16)}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "pangu", **SIZES, field: value}))
    with pytest.raises(ConfigError, match=r"No model can be read"):
        load_model(pangu_spec(tmp_path), dtype=None)
