"""The architectures that can be written as GGUF: their settings as metadata keys, and what their files cannot say."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gguf import GGUFWriter, RopeScalingType
from transformers import PreTrainedConfig

from kinnari.errors import ConfigError
from kinnari.models.gguf_config import GEMMA_27B_LAYERS

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Architecture:
    """How one `model_type` of transformers becomes a GGUF architecture.

    Attributes:
        name: `general.architecture`.
        activations: values of the activation setting that llama.cpp computes for it.
        write: adds the architecture's own metadata.
        fixed: settings that a file cannot state, with the only value llama.cpp and the reader assume.
        window_every: the file's sliding window holds in all but every n-th layer; None where llama.cpp has no window.
    """

    name: str
    activations: tuple[str, ...]
    write: Callable[[GGUFWriter, PreTrainedConfig], None]
    fixed: Mapping[str, object]
    window_every: int | None = None


def write_settings(writer: GGUFWriter, config: PreTrainedConfig) -> None:
    """Adds the model's shapes and constants.

    Raises:
        ConfigError: the architecture is not among `ARCHITECTURES`, or the config holds a value that a file cannot state.
    """
    architecture = find_architecture(config)
    check_expressible(architecture, config)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_vocab_size(config.vocab_size)
    architecture.write(writer, config)


def find_architecture(config: PreTrainedConfig) -> Architecture:
    """The entry of `ARCHITECTURES` for the config; ConfigError with all of them where there is none."""
    try:
        return ARCHITECTURES[config.model_type]
    except KeyError:
        raise ConfigError(
            f"A model of type {config.model_type!r} cannot be written as GGUF. Model types that can: {', '.join(sorted(ARCHITECTURES))}. "
            f"Export it as a Hugging Face folder instead (export.format=hf)."
        ) from None


def check_expressible(architecture: Architecture, config: PreTrainedConfig) -> None:
    """Raises ConfigError for a setting that the file cannot carry, since the model would silently be another one."""
    known = config.to_dict()
    wrong = {name: known[name] for name, value in architecture.fixed.items() if name in known and known[name] != value}
    for name in ("hidden_act", "hidden_activation", "activation", "activation_function"):
        if name in known and known[name] not in architecture.activations:
            wrong[name] = known[name]
    if "query_pre_attn_scalar" in known:
        big = config.num_hidden_layers == GEMMA_27B_LAYERS[architecture.name]
        scale = config.hidden_size // config.num_attention_heads if big else config.head_dim
        if config.query_pre_attn_scalar != scale:
            wrong["query_pre_attn_scalar"] = config.query_pre_attn_scalar
    if architecture.window_every and known.get("layer_types") != _windows(config.num_hidden_layers, architecture.window_every):
        wrong["layer_types"] = known.get("layer_types")
    if wrong:
        raise ConfigError(
            f"A GGUF file of architecture {architecture.name!r} cannot say {wrong}: llama.cpp computes it only with its own fixed "
            f"value, so the file would hold another model. Export the Hugging Face folder instead (export.format=hf)."
        )
    window = known.get("sliding_window")
    if window and not architecture.window_every and known.get("use_sliding_window", True):
        log.warning("llama.cpp attends to all tokens of a %s model; beyond the sliding window of %d it differs.", config.model_type, window)


def _windows(layers: int, every: int) -> list[str]:
    return ["full_attention" if (index + 1) % every == 0 else "sliding_attention" for index in range(layers)]


def _rotary(writer: GGUFWriter, config: PreTrainedConfig) -> None:
    """Theta and scaling of the rotary embedding; the `llama3` scaling is a tensor of its own (`rope_freqs.weight`)."""
    both = config.rope_parameters
    rope: dict[str, Any] = both.get("full_attention", both)
    kind = rope.get("rope_type", "default")
    if kind not in ("default", "linear", "yarn") and not (kind == "llama3" and config.model_type in ("llama", "mistral")):
        raise ConfigError(
            f"The rotary scaling {kind!r} of a {config.model_type} model cannot be written as GGUF; default, linear and yarn can, and "
            f"llama3 for llama models. Export the Hugging Face folder instead (export.format=hf)."
        )
    writer.add_rope_freq_base(rope["rope_theta"])
    if "sliding_attention" in both:
        writer.add_rope_freq_base_swa(both["sliding_attention"]["rope_theta"])
    if kind in ("linear", "yarn"):
        writer.add_rope_scaling_type(RopeScalingType(kind))
        writer.add_rope_scaling_factor(rope["factor"])
    if kind == "yarn":
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        optional = {
            "attention_factor": writer.add_rope_scaling_yarn_attn_factor,
            "beta_fast": writer.add_rope_scaling_yarn_beta_fast,
            "beta_slow": writer.add_rope_scaling_yarn_beta_slow,
        }
        for name, add in optional.items():
            if rope.get(name) is not None:
                add(rope[name])


def _decoder(writer: GGUFWriter, config: PreTrainedConfig) -> None:
    """What LLaMA and its descendants have in common."""
    writer.add_context_length(config.max_position_embeddings)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count_kv(config.num_key_value_heads)
    _rotary(writer, config)


def _llama(writer: GGUFWriter, config: PreTrainedConfig) -> None:
    _decoder(writer, config)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    head_dim = config.to_dict().get("head_dim") or config.hidden_size // config.num_attention_heads
    writer.add_rope_dimension_count(head_dim)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)


def _gemma(writer: GGUFWriter, config: PreTrainedConfig) -> None:
    _llama(writer, config)
    writer.add_sliding_window(config.sliding_window)
    if config.final_logit_softcapping:
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    if config.attn_logit_softcapping:
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)


def _starcoder2(writer: GGUFWriter, config: PreTrainedConfig) -> None:
    _decoder(writer, config)
    writer.add_layer_norm_eps(config.norm_epsilon)


def _bloom(writer: GGUFWriter, config: PreTrainedConfig) -> None:
    # ALiBi has no longest context; BLOOM was trained at `seq_length`, which its config mentions and transformers ignores
    writer.add_context_length(config.to_dict().get("seq_length", 2048))
    writer.add_feed_forward_length(4 * config.hidden_size)
    writer.add_head_count_kv(config.num_attention_heads)
    writer.add_layer_norm_eps(config.layer_norm_epsilon)


def _falcon(writer: GGUFWriter, config: PreTrainedConfig) -> None:
    writer.add_context_length(config.max_position_embeddings)
    writer.add_tensor_data_layout("jploski")  # llama.cpp's name for queries, then keys, then values
    writer.add_feed_forward_length(config.ffn_hidden_size)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_eps(config.layer_norm_epsilon)
    _rotary(writer, config)


def _gpt2(writer: GGUFWriter, config: PreTrainedConfig) -> None:
    writer.add_context_length(config.n_positions)
    writer.add_feed_forward_length(config.n_inner or 4 * config.hidden_size)
    writer.add_layer_norm_eps(config.layer_norm_epsilon)


SILU = ("silu", "swish")
# ggml's GELU is the tanh approximation, also where the published model has the exact one (differences below 1e-3)
GELU = ("gelu", "gelu_new", "gelu_pytorch_tanh", "gelu_fast")
GEMMA2: Mapping[str, object] = {"tie_word_embeddings": True, "attention_bias": False, "use_bidirectional_attention": None}
GEMMA3: Mapping[str, object] = {**GEMMA2, "use_bidirectional_attention": False, "attn_logit_softcapping": None}
FALCON: Mapping[str, object] = {
    "alibi": False,
    "bias": False,
    "multi_query": True,
    "new_decoder_architecture": False,
    "parallel_attn": True,
}
GPT2: Mapping[str, object] = {"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False}
ARCHITECTURES: Mapping[str, Architecture] = {
    "llama": Architecture("llama", SILU, _llama, {}),
    "mistral": Architecture("llama", SILU, _llama, {}),
    "qwen2": Architecture("qwen2", SILU, _llama, {"use_sliding_window": False}),
    "qwen3": Architecture("qwen3", SILU, _llama, {"use_sliding_window": False, "attention_bias": False}),
    "gemma2": Architecture("gemma2", GELU, _gemma, GEMMA2, window_every=2),
    "gemma3_text": Architecture("gemma3", GELU, _gemma, GEMMA3, window_every=6),
    "starcoder2": Architecture("starcoder2", GELU, _starcoder2, {"use_bias": True}),
    "bloom": Architecture("bloom", GELU, _bloom, {"apply_residual_connection_post_layernorm": False}),
    "falcon": Architecture("falcon", GELU, _falcon, FALCON),
    "gpt2": Architecture("gpt2", GELU, _gpt2, GPT2),
}
