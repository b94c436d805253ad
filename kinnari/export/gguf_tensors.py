"""From a folder's tensors to GGUF's: names, layouts, and which type each is stored in."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from gguf import GGML_QUANT_SIZES, MODEL_ARCH_NAMES, GGMLQuantizationType, get_tensor_name_map, quant_shape_to_byte_shape, quants
from transformers import AutoModelForCausalLM, PreTrainedConfig

from kinnari.errors import ConfigError

KINDS = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1")
# weights of one step of quantisation: 64 MB as float32, so that a large vocabulary is never whole in memory twice
CHUNK = 16 * 2**20

# scales and offsets are float16: 127, 8 or 1 of them make the largest weight
_HALF = 65504
LARGEST = {
    GGMLQuantizationType.F16: _HALF,
    GGMLQuantizationType.Q8_0: 127 * _HALF,
    GGMLQuantizationType.Q4_0: 8 * _HALF,
    GGMLQuantizationType.Q4_1: _HALF,
}

Layout = Callable[[np.ndarray, PreTrainedConfig], np.ndarray]


@dataclass(frozen=True)
class Stored:
    """One tensor of the file: where it comes from and what it becomes.

    Attributes:
        name: in the file.
        source: in the folder's safetensors.
        shape: in the file, slowest dimension first.
        type: ggml type.
        layout: change of the values' order or of the values themselves; None for a plain copy.
    """

    name: str
    source: str
    shape: tuple[int, ...]
    type: GGMLQuantizationType
    layout: Layout | None

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor in the file, without padding."""
        block, size = GGML_QUANT_SIZES[self.type]
        return int(np.prod(self.shape)) // block * size


def interleave_halves(weights: np.ndarray, heads: int) -> np.ndarray:
    """Rows of each head from (first half, second half) to alternating: llama.cpp rotates neighbours, transformers halves.

    Args:
        weights: (heads * head_dim, ...).
    """
    halves = weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:])
    return halves.swapaxes(1, 2).reshape(weights.shape)


def _queries(weights: np.ndarray, config: PreTrainedConfig) -> np.ndarray:
    return interleave_halves(weights, config.num_attention_heads)


def _keys(weights: np.ndarray, config: PreTrainedConfig) -> np.ndarray:
    return interleave_halves(weights, config.num_key_value_heads)


def _plus_one(weights: np.ndarray, config: PreTrainedConfig) -> np.ndarray:
    """Gemma multiplies by 1 + weight, llama.cpp by the weight."""
    return weights + np.float32(1)


def _transposed(weights: np.ndarray, config: PreTrainedConfig) -> np.ndarray:
    return np.ascontiguousarray(weights.T)


def _grouped_by_kind(weights: np.ndarray, config: PreTrainedConfig) -> np.ndarray:
    """BLOOM's rows from (head, q/k/v, head_dim) to (q/k/v, head, head_dim)."""
    parts = weights.reshape(config.num_attention_heads, 3, -1, *weights.shape[1:])
    return parts.swapaxes(0, 1).reshape(weights.shape)


_NORMS = {r"norm\.weight$": _plus_one}
# Falcon with one key-value head already lies in the order that llama.cpp wants.
LAYOUTS: Mapping[str, Mapping[str, Layout]] = {
    "llama": {r"\.q_proj\.(weight|bias)$": _queries, r"\.k_proj\.(weight|bias)$": _keys},
    "gemma2": _NORMS,
    "gemma3": _NORMS,
    "bloom": {r"\.query_key_value\.(weight|bias)$": _grouped_by_kind},
    "gpt2": {r"\.(c_attn|c_proj|c_fc)\.weight$": _transposed},
}
# buffers that checkpoints of older versions hold and no model reads
IGNORED = re.compile(r"(rotary_emb\.inv_freq|\.attn\.bias|\.attn\.masked_bias|\.masked_bias)$")


def plan_tensors(config: PreTrainedConfig, shapes: Mapping[str, tuple[int, ...]], architecture: str, kind: str) -> list[Stored]:
    """What to write, in the model's order.

    Args:
        shapes: of every tensor of the folder.
        architecture: `general.architecture`.
        kind: one of `KINDS`.

    Raises:
        ConfigError: a tensor is missing, has another shape than the config gives it, or is none of this model.
    """
    expected, tied = _expected_shapes(config)
    present = _match_names(shapes, expected, tied, config)
    ggml = next(key for key, value in MODEL_ARCH_NAMES.items() if value == architecture)
    names = get_tensor_name_map(ggml, config.num_hidden_layers)
    heads = "output" if "lm_head.weight" in present else "token_embd"
    stored = []
    for name in (name for name in expected if name in present):
        # `transformer.word_embeddings_layernorm` of BLOOM is known only without its prefix
        file_name = names.get_name(name, (".weight", ".bias")) or names.get_name(name.partition(".")[2], (".weight", ".bias"))
        if file_name is None:
            raise ConfigError(f"The tensor {name!r} of a {config.model_type} model has no name in the GGUF architecture {architecture!r}.")
        layout = next((change for pattern, change in LAYOUTS.get(architecture, {}).items() if re.search(pattern, name)), None)
        shape = tuple(reversed(expected[name])) if layout is _transposed else expected[name]
        stored.append(Stored(file_name, present[name], shape, stored_type(file_name, shape, kind, heads), layout))
    return stored


def _expected_shapes(config: PreTrainedConfig) -> tuple[dict[str, tuple[int, ...]], set[str]]:
    """Shapes by name of the model that the config describes, and the names that only repeat another tensor."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    return shapes, set(model.all_tied_weights_keys) if config.tie_word_embeddings else set()


def _match_names(
    shapes: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]], tied: set[str], config: PreTrainedConfig
) -> dict[str, str]:
    """The model's name -> the folder's, which may lack the prefix of the whole model (`transformer.`) in old checkpoints."""
    by_tail = {name.partition(".")[2]: name for name in expected}
    present = {name if name in expected else by_tail.get(name, name): name for name in shapes if not IGNORED.search(name)}
    missing = [name for name in expected if name not in present and name not in tied]
    strange = [name for name in present if name not in expected]
    bent = [name for name in expected if name in present and shapes[present[name]] != expected[name]]
    for names, what in (
        (missing, "lacks"),
        (strange, "holds, unknown to the model,"),
        (bent, "holds in another shape than its config gives"),
    ):
        if names:
            raise ConfigError(
                f"The folder {what} {len(names)} tensor{'s' * (len(names) > 1)}, {names[0]!r} the first, for a {config.model_type} model. "
                f"GGUF is written from a whole model: merge adapters first, and check the folder's config.json."
            )
    return {name: source for name, source in present.items() if name not in tied}


def stored_type(name: str, shape: tuple[int, ...], kind: str, head: str = "output") -> GGMLQuantizationType:
    """The type a tensor is stored in, by the rules of llama.cpp.

    Vectors, norms and position embeddings stay float32: they are few and llama.cpp computes with them in float32. Rows that
    are no multiple of the block of 32 stay float16. With 4 bits the matrix that gives the logits (the tied embedding where
    there is no other) takes 8: llama.cpp's own 4-bit files take Q6_K there, which the `gguf` package cannot write.

    Args:
        name: in the file.
        head: name, without `.weight`, of the matrix that gives the logits.
    """
    if len(shape) <= 1 or name.endswith("_norm.weight") or name.startswith("position_embd") or not name.endswith(".weight"):
        return GGMLQuantizationType.F32
    if kind.startswith("Q4") and name == f"{head}.weight":
        kind = "Q8_0"
    wanted = GGMLQuantizationType[kind]
    return wanted if shape[-1] % GGML_QUANT_SIZES[wanted][0] == 0 else GGMLQuantizationType.F16


def stored_values(tensor: Stored, rows: Callable[[slice], torch.Tensor], config: PreTrainedConfig) -> np.ndarray:
    """The tensor as it lies in the file; bytes for the quantised types.

    Args:
        rows: a range of rows of the source tensor.

    Raises:
        ConfigError: a weight is not finite, or too large for the type.
    """
    plain = {GGMLQuantizationType.F32: np.float32, GGMLQuantizationType.F16: np.float16}
    shape = tensor.shape if tensor.type in plain else quant_shape_to_byte_shape(tensor.shape, tensor.type)
    found = np.empty(shape, dtype=plain.get(tensor.type, np.uint8))
    for start, values in _chunks(tensor, rows, config):
        if not np.isfinite(values).all():
            raise ConfigError(
                f"The tensor {tensor.source!r} holds values that are not finite; the checkpoint is damaged, so nothing is written."
            )
        if np.abs(values).max(initial=0) > LARGEST.get(tensor.type, np.inf):
            raise ConfigError(
                f"The tensor {tensor.source!r} holds values above {LARGEST[tensor.type]:.0f}, the most that {tensor.type.name} can hold; "
                f"write F32 or BF16."
            )
        # a block of numbers near 1e-40 has the scale 0 in float16, so that its codes, which overflow, do not matter
        with np.errstate(over="ignore", invalid="ignore"):
            found[start : start + len(values)] = quants.quantize(values, tensor.type)
    return found


def _chunks(tensor: Stored, rows: Callable[[slice], torch.Tensor], config: PreTrainedConfig) -> Iterator[tuple[int, np.ndarray]]:
    """(first row, float32 values) in pieces of `CHUNK` weights; whole where the layout mixes rows."""
    length = tensor.shape[0]
    if tensor.layout is not None:
        yield 0, tensor.layout(rows(slice(None)).float().numpy(), config)
        return
    step = max(1, CHUNK // max(1, int(np.prod(tensor.shape[1:]))))
    for start in range(0, length, step):
        yield start, rows(slice(start, start + step)).float().numpy()


def count_types(tensors: Iterable[Stored]) -> dict[str, int]:
    """Number of tensors by type."""
    names = [tensor.type.name for tensor in tensors]
    return {name: names.count(name) for name in sorted(set(names))}
