"""Settings that a GGUF file cannot carry are refused by name; the rest are checked by reading back."""

import logging

import gguf
import pytest
from gguf import MODEL_ARCH_NAMES
from transformers import AutoConfig
from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

from kinnari.errors import ConfigError
from kinnari.export.gguf_architectures import ARCHITECTURES, check_expressible, find_architecture, write_settings
from tests.kinnari.export.gguf_folders import DECODER, GEMMA, MODELS


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_every_architecture_is_known_to_llama_cpp_and_to_the_reader(model_type):
    name = ARCHITECTURES[model_type].name
    assert name in MODEL_ARCH_NAMES.values()
    assert name in GGUF_SUPPORTED_ARCHITECTURES


def test_every_architecture_has_a_model_that_is_read_back():
    assert set(ARCHITECTURES) == {settings.get("model_type", name) for name, settings in MODELS.items()}


@pytest.mark.parametrize(
    ("model_type", "settings", "named"),
    [
        ("llama", {"hidden_act": "gelu"}, "hidden_act.*gelu"),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 8}, "use_sliding_window"),
        ("gemma2", {**GEMMA, "query_pre_attn_scalar": 144}, "query_pre_attn_scalar.*144"),
        ("gemma3_text", {**GEMMA, "layer_types": ["full_attention", "sliding_attention"]}, "layer_types"),
        ("falcon", {"alibi": True}, "alibi"),
        ("falcon", {"new_decoder_architecture": True}, "new_decoder_architecture"),
        ("bloom", {"apply_residual_connection_post_layernorm": True}, "apply_residual_connection_post_layernorm"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
    ],
)
def test_a_setting_without_a_key_is_refused(model_type, settings, named):
    shape = DECODER if model_type not in ("bloom", "falcon", "gpt2") else {}
    config = AutoConfig.for_model(model_type, **{**shape, **settings})
    with pytest.raises(ConfigError, match=f"cannot say.*{named}"):
        check_expressible(find_architecture(config), config)


def test_gemma_27b_keeps_the_scale_llama_cpp_gives_it():
    """62 layers, hidden size 5376 and 32 heads of 128: scaled by 5376 / 32 = 168, not by 128."""
    config = AutoConfig.for_model(
        "gemma3_text", num_hidden_layers=62, hidden_size=5376, num_attention_heads=32, head_dim=128, query_pre_attn_scalar=168
    )
    check_expressible(find_architecture(config), config)


@pytest.mark.parametrize(("model_type", "kind"), [("llama", "dynamic"), ("qwen2", "llama3")])
def test_a_rotary_scaling_without_a_key_is_refused(model_type, kind, tmp_path):
    rope = {
        "rope_type": kind,
        "rope_theta": 1e4,
        "factor": 2.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
    config = AutoConfig.for_model(model_type, **DECODER, rope_parameters=rope)
    with pytest.raises(ConfigError, match=f"rotary scaling '{kind}'"):
        write_settings(gguf.GGUFWriter(None, model_type), config)


def test_a_sliding_window_that_llama_cpp_ignores_is_told(caplog):
    config = AutoConfig.for_model("mistral", **DECODER, sliding_window=32)
    with caplog.at_level(logging.WARNING):
        check_expressible(find_architecture(config), config)
    assert "sliding window of 32" in caplog.text
