"""The settings of a GGUF file that transformers' reader leaves at the defaults of the model class."""

from typing import Any

import numpy as np
import torch
from gguf import GGUFReader
from transformers import PreTrainedConfig

from kinnari.errors import ConfigError

# key of the file without its architecture -> names of the setting, of which the config has at most one
PLAIN = {
    "context_length": ("max_position_embeddings", "n_positions"),
    "attention.key_length": ("head_dim",),
    "attention.sliding_window": ("sliding_window",),
    "attn_logit_softcapping": ("attn_logit_softcapping",),
    "final_logit_softcapping": ("final_logit_softcapping",),
    "attention.layer_norm_rms_epsilon": ("rms_norm_eps",),
    "attention.layer_norm_epsilon": ("layer_norm_epsilon", "norm_epsilon"),
}
# llama3's constants, equal in every published model; its factor is the largest of the file's divisors
LLAMA3_ROPE = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
# layers of Gemma 2 27B and Gemma 3 27B, which llama.cpp knows by this number and scales differently
GEMMA_27B_LAYERS = {"gemma2": 46, "gemma3": 62}


def complete_config(config: PreTrainedConfig, reader: GGUFReader) -> None:
    """Sets in place what `AutoConfig.from_pretrained(gguf_file=...)` of transformers 5.23 does not take from the file.

    Rope theta and its scaling (linear, yarn, llama3), head size, soft caps, sliding window, bias and tied embeddings.

    Raises:
        ConfigError: the file scales its rotary embedding by constants that no published model has.
    """
    architecture = str(reader.fields["general.architecture"].contents())
    values = {key.removeprefix(f"{architecture}."): field for key, field in reader.fields.items() if key.startswith(f"{architecture}.")}
    known = config.to_dict()
    for key, names in PLAIN.items():
        for name in names:
            if key in values and name in known:
                setattr(config, name, _tidy(values[key].contents()))
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    config.tie_word_embeddings = "output.weight" not in tensors
    for name, tensor in (("attention_bias", "blk.0.attn_q.bias"), ("mlp_bias", "blk.0.ffn_up.bias")):
        if name in known:
            setattr(config, name, tensor in tensors)
    for name in ("n_inner", "ffn_hidden_size"):  # of GPT-2 and Falcon, whose reader takes four times the hidden size for granted
        if name in known and (width := int(values["feed_forward_length"].contents())) != 4 * config.hidden_size:
            setattr(config, name, width)
    if "query_pre_attn_scalar" in known:
        big = config.num_hidden_layers == GEMMA_27B_LAYERS[architecture]
        config.query_pre_attn_scalar = config.hidden_size // config.num_attention_heads if big else config.head_dim
    if "rope_parameters" in known:
        divisors = tensors["rope_freqs.weight"].data if "rope_freqs.weight" in tensors else None
        _complete_rope(config, {key: _tidy(field.contents()) for key, field in values.items() if key.startswith("rope.")}, divisors)


def _tidy(value: Any) -> Any:
    """A float32 of the file as the shortest decimal that gives it: 1e-5, not 9.99999974738e-06."""
    return float(str(np.float32(value))) if isinstance(value, float) else value


def _complete_rope(config: PreTrainedConfig, values: dict[str, Any], divisors: np.ndarray | None) -> None:
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": values.get("rope.freq_base", 10000.0)}
    kind = values.get("rope.scaling.type", "none")
    if kind in ("linear", "yarn"):
        rope |= {"rope_type": kind, "factor": values["rope.scaling.factor"]}
    if kind == "yarn":
        rope["original_max_position_embeddings"] = values["rope.scaling.original_context_length"]
        optional = {"attention_factor": "yarn_attn_factor", "beta_fast": "yarn_beta_fast", "beta_slow": "yarn_beta_slow"}
        rope |= {name: values[f"rope.scaling.{key}"] for name, key in optional.items() if f"rope.scaling.{key}" in values}
    if divisors is not None:
        rope |= {"rope_type": "llama3", "factor": float(divisors.max()), **LLAMA3_ROPE}
        if not np.allclose(llama3_divisors(rope, 2 * divisors.size), divisors, rtol=1e-5):
            raise ConfigError(
                "The GGUF file divides its rotary frequencies (rope_freqs.weight) by other numbers than the llama3 scaling with "
                f"{LLAMA3_ROPE} gives, and a file does not say which. Use the model's Hugging Face folder instead."
            )
    if "sliding_attention" in (config.rope_parameters or {}):
        local = {"rope_type": "default", "rope_theta": values.get("rope.freq_base_swa", 10000.0)}
        config.rope_parameters = {"full_attention": rope, "sliding_attention": local}
    else:
        config.rope_parameters = rope


def llama3_divisors(rope: dict[str, Any], head_dim: int) -> np.ndarray:
    """What each rotary frequency is divided by under the `llama3` scaling: float32, shape (head_dim / 2,).

    1 for wavelengths below `original / high`, `factor` for those above `original / low`, and between them the inverse of a
    straight line in the frequency (Llama 3.1; `ROPE_INIT_FUNCTIONS["llama3"]` of transformers).
    """
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
    wavelengths = 2 * torch.pi * rope["rope_theta"] ** exponents
    turns = rope["original_max_position_embeddings"] / wavelengths
    low, high, factor = rope["low_freq_factor"], rope["high_freq_factor"], rope["factor"]
    share = ((turns - low) / (high - low)).clamp(0, 1)
    return (1 / ((1 - share) / factor + share)).numpy()
