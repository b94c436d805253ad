"""From the shapes of a published model to those of a toy that is built the same way.

    Qwen3-8B   hidden 4096, 32 heads of 128 over 8 key heads, 36 layers, vocabulary 151,936, head of its own
    its toy    hidden   64,  4 heads of  16 over 2 key heads,  2 layers, that of the byte tokenizer, head of its own

What makes an architecture stays: the class and its variants, one or few or as many key heads as heads, heads wider than their share of
the hidden size, a head tied to the embedding or not, activation, kind of positions, which layers slide a window or rotate nothing, an
encoder deeper than its decoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import AutoConfig, PreTrainedConfig

HIDDEN = 64  # bitsandbytes quantises blocks of 64 numbers
HEADS = 4
MLP = 128
WINDOW = 16  # tokens; shorter than the records one tries it with, so that the window cuts something

_MLP_NAMES = ("intermediate_size", "ffn_dim", "d_ff", "ffn_hidden_size")
_KEY_HEAD_NAMES = ("num_key_value_heads", "num_kv_heads")


def architecture_config(config: Mapping[str, Any]) -> PreTrainedConfig:
    """The real config object of `ModelSpec.config` (with `model_type`), everything it leaves out as its class has it.

    Raises:
        ValueError: an unknown model type; families of Kinnari's own must have been imported.
    """
    arguments = {name: value for name, value in config.items() if name != "model_type"}
    return AutoConfig.for_model(config["model_type"], **arguments)


def shrink(config: Mapping[str, Any], vocab_size: int) -> dict[str, Any]:
    """Config arguments, `model_type` among them, of the toy with the architecture of `config`.

    Args:
        config: published shapes, `ModelSpec.config`; it is not changed.
        vocab_size: tokens of the toy's tokenizer.
    """
    full = architecture_config(config)
    toy: dict[str, Any] = {**config, "vocab_size": vocab_size}
    toy[_own_name(full, "hidden_size")] = HIDDEN
    toy[_own_name(full, "num_attention_heads")] = HEADS
    toy |= _key_heads(full, config) | _head_width(full) | _layers(full)
    toy |= {name: MLP for name in _MLP_NAMES if name in config}
    if _is_field(full, "sliding_window") and full.sliding_window is not None:
        toy["sliding_window"] = min(full.sliding_window, WINDOW)
    if "word_embed_proj_dim" in config:
        toy["word_embed_proj_dim"] = HIDDEN if full.word_embed_proj_dim == full.hidden_size else HIDDEN // 2
    return toy


def _own_name(full: PreTrainedConfig, name: str) -> str:
    """What the family calls the field that others call `name`."""
    return full.attribute_map.get(name, name)


def _is_field(full: PreTrainedConfig, name: str) -> bool:
    return name in type(full).__dataclass_fields__


def _key_heads(full: PreTrainedConfig, config: Mapping[str, Any]) -> dict[str, int]:
    """One key head for all heads, some, or one each; falcon's older layout says it with `multi_query` instead."""
    for name in _KEY_HEAD_NAMES:
        if _is_field(full, name) and (name == "num_key_value_heads" or name in config):
            count = getattr(full, name)
            return {name: 1 if count == 1 else HEADS if count == full.num_attention_heads else HEADS // 2}
    return {}


def _head_width(full: PreTrainedConfig) -> dict[str, int]:
    """Heads as wide as their share of the hidden size, or wider, where the family has a field for it."""
    name = _own_name(full, "head_dim")
    if not _is_field(full, name):
        return {}
    share = HIDDEN // HEADS
    published = getattr(full, name)
    width = share if published is None or published * full.num_attention_heads == full.hidden_size else 2 * share
    return {name: width} | ({"query_pre_attn_scalar": width} if _is_field(full, "query_pre_attn_scalar") else {})


def _layers(full: PreTrainedConfig) -> dict[str, Any]:
    """Two layers, or one of each kind where the published layers differ; a deeper encoder stays the deeper one."""
    depth = full.num_hidden_layers
    name = _own_name(full, "num_hidden_layers")
    if _is_field(full, "num_decoder_layers") and full.num_decoder_layers != depth:
        deeper = depth > full.num_decoder_layers
        return {name: 3 if deeper else 2, "num_decoder_layers": 2 if deeper else 3}
    per_layer = {
        field: value
        for field in type(full).__dataclass_fields__
        if isinstance(value := getattr(full, field), (list, tuple)) and len(value) == depth
    }
    first_of_kind: dict[tuple[Any, ...], int] = {}
    for layer, kind in enumerate(zip(*per_layer.values(), strict=True)):
        first_of_kind.setdefault(kind, layer)
    kept = sorted(first_of_kind.values())
    if len(kept) < 2:
        kept = [0, 1]
    return {name: len(kept)} | {field: [value[layer] for layer in kept] for field, value in per_layer.items()}
