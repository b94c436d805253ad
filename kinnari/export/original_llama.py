"""LLaMA in the layout Meta released it in: consolidated.00.pth, params.json, tokenizer.model.

For programs that read only that: Meta's own inference code, llama.cpp's and others' early converters. The reverse of the
conversion that made the Hugging Face folders: other names, and the rows of the query and key projections back in the order of
Meta's rotary embedding, which turns neighbouring pairs of numbers where Hugging Face turns the two halves of a head.
"""

from __future__ import annotations

import json
import logging
import math
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor
from transformers import LlamaConfig

from kinnari.errors import ConfigError
from kinnari.export.folder import written_whole
from kinnari.export.weight_files import WeightFolder, keep_apart

log = logging.getLogger(__name__)

WEIGHTS = "consolidated.00.pth"
_OUTER = {"model.embed_tokens.weight": "tok_embeddings.weight", "model.norm.weight": "norm.weight", "lm_head.weight": "output.weight"}
_LAYER = {
    "self_attn.q_proj": "attention.wq", "self_attn.k_proj": "attention.wk",
    "self_attn.v_proj": "attention.wv", "self_attn.o_proj": "attention.wo",
    "mlp.gate_proj": "feed_forward.w1", "mlp.down_proj": "feed_forward.w2", "mlp.up_proj": "feed_forward.w3",
    "input_layernorm": "attention_norm", "post_attention_layernorm": "ffn_norm",
}  # fmt: skip
# The one long-context scaling that Meta's code knows (Llama 3.1), constants there; its factor became a parameter later.
_SCALED_ROPE = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}


@dataclass(frozen=True)
class OriginalReport:
    """What was written.

    Attributes:
        folder: where it is.
        params: content of params.json.
        files: bytes of each file, by name.
        tokenizer: whether tokenizer.model is there; Llama 3's folders hold only tokenizer.json, from which it cannot be made.
    """

    folder: Path
    params: dict[str, Any]
    files: dict[str, int]
    tokenizer: bool


def write_original(folder: Path, out: Path) -> OriginalReport:
    """Writes a Hugging Face folder of LLaMA 1, 2 or 3 in Meta's layout, in the dtype it has, as one file of weights.

    The file is a plain dict of tensors (`torch.load(..., weights_only=True)`). Tensors are mapped from the folder while it is
    written; only the query and key projections are copied.

    Args:
        folder: safetensors and config.json.
        out: where to write; a model folder there is replaced.

    Raises:
        ConfigError: another architecture, biases, a scaling of positions or a head size that Meta's layout has no words for, or
            weights that are not those of the config.
    """
    folder = Path(folder).expanduser()
    keep_apart(Path(out), folder)
    config = original_config(folder)
    weights = WeightFolder(folder)
    params = original_params(config)
    state = original_state(weights, config)
    tokenizer = folder / "tokenizer.model"

    def write(work: Path) -> None:
        log.info("writing %s, %.1f GB", WEIGHTS, weights.size_bytes / 1e9)
        torch.save(state, work / WEIGHTS)
        (work / "params.json").write_text(json.dumps(params) + "\n", encoding="utf-8")
        if tokenizer.is_file():
            shutil.copyfile(tokenizer, work / tokenizer.name)

    target = written_whole(Path(out), write)
    if not tokenizer.is_file():
        log.warning("%s has no tokenizer.model, so %s has none either; take the one Meta published with the base.", folder, target)
    files = {path.name: path.stat().st_size for path in sorted(target.iterdir())}
    return OriginalReport(target, params, files, tokenizer.is_file())


def original_state(weights: WeightFolder, config: LlamaConfig) -> dict[str, Tensor]:
    """Meta's names and rows for every tensor; `output.weight` shares the embedding's memory where they are tied.

    Raises:
        ConfigError: a tensor is missing, has another shape than the config says, or has no place in the layout.
    """
    names = {name: original_name(name) for name in weights.places if not name.endswith("rotary_emb.inv_freq")}
    tied = config.tie_word_embeddings and "lm_head.weight" not in names
    absent = sorted(expected_shapes(config, tied=tied).keys() - names.keys())
    odd = sorted(names.keys() - expected_shapes(config, tied=tied).keys())
    if absent or odd:
        raise ConfigError(
            f"{weights.folder} holds other weights than its config.json says: {len(absent)} missing, {len(odd)} too many, such as "
            f"{(absent + odd)[0]}. Export the merged folder of a LLaMA model."
        )
    state = {}
    for name, shape in expected_shapes(config, tied=tied).items():
        tensor = weights.tensor(name)
        if tuple(tensor.shape) != shape:
            raise ConfigError(f"{name} in {weights.folder} has shape {list(tensor.shape)}, where its config.json says {list(shape)}.")
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            tensor = pairs_from_halves(tensor, shape[0] // _head_dim(config))
        state[names[name]] = tensor
    if tied:
        state["output.weight"] = state["tok_embeddings.weight"]
    return state


def original_name(name: str) -> str:
    """`model.layers.3.self_attn.q_proj.weight` -> `layers.3.attention.wq.weight`; a name that LLaMA lacks stays as it is."""
    if name in _OUTER:
        return _OUTER[name]
    found = re.fullmatch(r"model\.layers\.(\d+)\.(.+)\.weight", name)
    return f"layers.{found[1]}.{_LAYER[found[2]]}.weight" if found and found[2] in _LAYER else name


def pairs_from_halves(weight: Tensor, heads: int) -> Tensor:
    """Rows of a query or key projection from Hugging Face's rotary order to Meta's.

    In a head of d rows, Hugging Face turns rows i and i + d/2 by one angle, Meta rows 2i and 2i + 1: row i goes to 2i, row
    i + d/2 to 2i + 1.

    Args:
        weight: [heads * d, columns].
        heads: number of heads in it: of keys, fewer than of queries under grouped-query attention.
    """
    rows, columns = weight.shape
    return weight.view(heads, 2, rows // heads // 2, columns).transpose(1, 2).reshape(rows, columns)


def expected_shapes(config: LlamaConfig, *, tied: bool) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor of a Hugging Face LLaMA, by name; without lm_head where it is tied."""
    dim, hidden, head = config.hidden_size, config.intermediate_size, _head_dim(config)
    queries, keys = config.num_attention_heads * head, (config.num_key_value_heads or config.num_attention_heads) * head
    layer: dict[str, tuple[int, ...]] = {
        "self_attn.q_proj": (queries, dim), "self_attn.k_proj": (keys, dim), "self_attn.v_proj": (keys, dim),
        "self_attn.o_proj": (dim, queries), "mlp.gate_proj": (hidden, dim), "mlp.up_proj": (hidden, dim),
        "mlp.down_proj": (dim, hidden), "input_layernorm": (dim,), "post_attention_layernorm": (dim,),
    }  # fmt: skip
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (config.vocab_size, dim), "model.norm.weight": (dim,)}
    if not tied:
        shapes["lm_head.weight"] = (config.vocab_size, dim)
    for number in range(config.num_hidden_layers):
        shapes |= {f"model.layers.{number}.{name}.weight": shape for name, shape in layer.items()}
    return shapes


def original_params(config: LlamaConfig) -> dict[str, Any]:
    """The content of params.json, with the names of Meta's `ModelArgs`.

    `n_kv_heads` and `rope_theta` are left out where they have the values that LLaMA 1's code takes for granted.
    """
    rope = _rope(config)
    params: dict[str, Any] = {
        "dim": config.hidden_size, "n_layers": config.num_hidden_layers, "n_heads": config.num_attention_heads,
        "vocab_size": config.vocab_size, "norm_eps": config.rms_norm_eps,
    }  # fmt: skip
    params |= feed_forward_params(config.hidden_size, config.intermediate_size)
    if config.num_key_value_heads != config.num_attention_heads:
        params["n_kv_heads"] = config.num_key_value_heads
    if rope["rope_theta"] != 10000.0:
        params["rope_theta"] = float(rope["rope_theta"])
    if rope["rope_type"] == "llama3":
        params["use_scaled_rope"] = True
        if rope["factor"] != 8.0:
            params["rope_scaling_factor"] = float(rope["factor"])
    return params


def feed_forward_params(dim: int, hidden: int) -> dict[str, Any]:
    """`multiple_of` and, if needed, `ffn_dim_multiplier` from which Meta's code computes `hidden`.

    It takes 2/3 of 4 dim, times the multiplier, rounded up to a multiple of `multiple_of`. First without a multiplier and with the
    multipliers that Meta has published (1.3, 1.2, 1.5, 1.0), then with the quotient itself.
    """
    multiples = [2**power for power in range(8, 13)] + [2**power for power in range(7, -1, -1)]  # 256 first, as Meta does
    for multiplier in (None, 1.3, 1.2, 1.5, 1.0, hidden / (8 * dim // 3), (hidden + 0.5) / (8 * dim // 3)):
        for multiple in multiples:
            if _hidden(dim, multiple, multiplier) == hidden:
                return {"multiple_of": multiple} | ({} if multiplier is None else {"ffn_dim_multiplier": multiplier})
    raise AssertionError("a multiple of 1 gives every size")


def _hidden(dim: int, multiple: int, multiplier: float | None) -> int:
    hidden = int(2 * (4 * dim) / 3)
    if multiplier is not None:
        hidden = int(multiplier * hidden)
    return multiple * math.ceil(hidden / multiple)


def _rope(config: LlamaConfig) -> dict[str, Any]:
    return dict(config.rope_parameters or {"rope_type": "default", "rope_theta": 10000.0})


def _head_dim(config: LlamaConfig) -> int:
    return config.hidden_size // config.num_attention_heads


def original_config(folder: Path) -> LlamaConfig:
    """The config of a LLaMA that Meta's layout can say everything about; ConfigError for every other model."""
    try:
        values: Mapping[str, Any] = json.loads((folder / "config.json").read_text("utf-8"))
        if (model_type := values.get("model_type")) != "llama":
            raise ConfigError(
                f"{folder} holds a model of type {model_type!r}; Meta's layout is that of LLaMA alone. Export another format."
            )
        config = LlamaConfig.from_pretrained(folder)
    except (OSError, ValueError, AttributeError, StrictDataclassError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{folder} has no readable config.json ({error}); give the folder of a LLaMA model.") from error
    rope = _rope(config)
    refusals = {
        "attention_bias": config.attention_bias,
        "mlp_bias": config.mlp_bias,
        f"hidden_act={config.hidden_act}": config.hidden_act != "silu",
        f"head_dim={config.head_dim}": config.head_dim not in (None, _head_dim(config)),
        f"rope_type={rope['rope_type']}": rope["rope_type"] not in ("default", "llama3"),
        f"rope_parameters={rope}": rope["rope_type"] == "llama3" and not _SCALED_ROPE.items() <= rope.items(),
        "quantization_config": "quantization_config" in values,
    }
    for setting, refused in refusals.items():
        if refused:
            raise ConfigError(f"{folder} has {setting} in its config.json, which Meta's layout cannot say. Export another format.")
    return config
