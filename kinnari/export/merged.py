"""Base + adapter as one plain Hugging Face folder that `transformers` loads."""

import copy
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import PrefixChange

from kinnari.export.folder import written_whole
from kinnari.models.architectures import kind_of, without_pooling
from kinnari.models.quantized import base_kind, float_weight, is_quantized_parameter
from kinnari.text.progress import progress_line

log = logging.getLogger(__name__)

SHARD_SIZE = "2GB"
FILE_NAMES = "model{suffix}.safetensors"
INDEX_NAME = "model.safetensors.index.json"


@dataclass(frozen=True)
class MergeReport:
    """What a merged folder holds.

    Attributes:
        folder: where it is.
        base: the weights the adapter was added to: "float", "dequantised 4-bit" or "dequantised 8-bit".
        dtype: dtype of the written weights.
        merged_layers: number of adapted layers; 0 after full tuning.
        size_bytes: bytes of the safetensors files.
    """

    folder: Path
    base: str
    dtype: torch.dtype
    merged_layers: int
    size_bytes: int


def export_merged(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    *,
    dtype: torch.dtype,
    shard_size: str = SHARD_SIZE,
) -> MergeReport:
    """`write_merged` into a folder that appears when it is whole; `kinnari.export.verify.verify_merge` measures its gap to `model`."""
    report: MergeReport | None = None

    def write(work: Path) -> None:
        nonlocal report
        report = write_merged(model, tokenizer, work, dtype=dtype, shard_size=shard_size)

    target = written_whole(Path(folder), write)
    assert report is not None
    return replace(report, folder=target)


def write_merged(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    *,
    dtype: torch.dtype,
    shard_size: str = SHARD_SIZE,
) -> MergeReport:
    """Writes base + adapter as one plain Hugging Face folder: safetensors shards, config, generation config, tokenizer.

    Merged weight = W + (alpha / r) B A, added in float32 and rounded once to `dtype`. Over a 4- or 8-bit base, W is
    that base dequantised, the numbers the adapter was trained and evaluated on, not the original checkpoint. `model`
    itself keeps its bits and its mode. Memory: the model, one shard, and one layer in float32.

    Args:
        folder: an existing one.
        shard_size: most bytes of a file, as "400MB" (millions); a larger tensor has a file of its own.
    """
    base: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    _write_weights(base, folder, dtype, shard_size)
    tokenizer.save_pretrained(folder)
    layers = sum(isinstance(module, LoraLayer) for module in base.modules())
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    log.info("Merged %d layers on the %s base: %.0f MB of %s.", layers, base_kind(base), size / 1e6, dtype)
    return MergeReport(folder, base_kind(base), dtype, layers, size)


def merged_tensors(base: nn.Module) -> dict[str, Callable[[], Tensor]]:
    """Name in the plain model -> what computes the tensor, for every weight and saved buffer.

    Adapters are added and few-bit weights expanded, in float32, when the function is called. Names lose the `base_layer`
    that PEFT inserts; adapter tensors are left out.
    """
    adapted = {name: module for name, module in base.named_modules() if isinstance(module, LoraLayer)}
    found: dict[str, Callable[[], Tensor]] = {f"{name}.weight": partial(_sum, layer) for name, layer in adapted.items()}
    saved = base.state_dict().keys()
    tensors: dict[str, Tensor] = dict(base.named_parameters(remove_duplicate=False))
    tensors |= {name: buffer for name, buffer in base.named_buffers(remove_duplicate=False) if name in saved}
    adapter_prefixes = tuple(f"{name}." for name in adapted)
    for key, tensor in tensors.items():
        if key.startswith(adapter_prefixes) and ".base_layer." not in key:
            continue
        name = key.replace(".base_layer.", ".")
        if name not in found:
            quantized = is_quantized_parameter(tensor)
            found[name] = partial(float_weight, base.get_submodule(key.removesuffix(".weight"))) if quantized else tensor.detach
    return found


def _sum(layer: Any) -> Tensor:
    # float32 for the sum: in bfloat16 a small update would vanish beside a large weight
    weight = float_weight(layer.get_base_layer())
    for adapter in layer.active_adapters:
        weight = weight + layer.get_delta_weight(adapter).detach().float()
    return weight


def _write_weights(base: PreTrainedModel, folder: Path, dtype: torch.dtype, shard_size: str) -> None:
    """Config, generation config and safetensors files; each shard is computed, written and forgotten."""
    plain = _empty_copy(base, dtype)
    sources = merged_tensors(base)
    if strangers := sorted(sources.keys() ^ plain.state_dict().keys()):
        raise RuntimeError(f"Merged weights do not fit their own architecture: {len(strangers)} names, such as {strangers[0]}.")
    wanted = _saved_tensors(plain, _held_once(base), dtype)
    if _renamed_on_disk(plain):
        # transformers joins or splits tensors of this family while saving, and needs all of them for that
        plain.load_state_dict({name: _cast(sources[name](), like) for name, like in wanted.items()}, strict=False, assign=True)
        plain.tie_weights()
        plain.save_pretrained(folder, max_shard_size=shard_size)
        return
    if _untied(plain):
        plain.config.tie_word_embeddings = False  # as T5 1.1 is published: other libraries would tie, and scale the head's input
    plain.config.save_pretrained(folder)
    if plain.can_generate():
        plain.generation_config.save_pretrained(folder)
    _write_shards(sources, wanted, folder, shard_size)


def _write_shards(sources: Mapping[str, Callable[[], Tensor]], wanted: dict[str, Tensor], folder: Path, shard_size: str) -> None:
    shards = split_torch_state_dict_into_shards(wanted, filename_pattern=FILE_NAMES, max_shard_size=shard_size)
    with progress_line("merging", len(wanted)) as advance:
        done = 0
        for name, keys in shards.filename_to_tensors.items():
            tensors = {}
            for key in keys:
                tensors[key] = _cast(sources[key](), wanted[key])
                done += 1
                advance(done)
            save_file(tensors, folder / name, metadata={"format": "pt"})
            # safetensors 0.8 writes files that only their owner may read
            (folder / name).chmod((folder / "config.json").stat().st_mode)
    if shards.is_sharded:
        index = {"metadata": shards.metadata, "weight_map": shards.tensor_to_filename}
        (folder / INDEX_NAME).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _cast(tensor: Tensor, like: Tensor) -> Tensor:
    if tensor.shape != like.shape:
        raise RuntimeError(f"A merged tensor has shape {tuple(tensor.shape)}, its architecture {tuple(like.shape)}.")
    return tensor.to("cpu", like.dtype).contiguous()


def _held_once(base: nn.Module) -> set[str]:
    """Names in the plain model of the weights, a shared one under its first name alone.

    Read off the model: a checkpoint may hold a head of its own although its config ties it, and transformers then keeps both.
    """
    return {name.replace(".base_layer.", ".") for name, _ in base.named_parameters()}


def _saved_tensors(plain: PreTrainedModel, names: set[str], dtype: torch.dtype) -> dict[str, Tensor]:
    """Shapes and dtypes of what a file holds, on the meta device."""
    saved = plain.state_dict().keys()
    tensors: dict[str, Tensor] = {name: p for name, p in plain.named_parameters(remove_duplicate=False) if name in names}
    tensors |= {name: buffer for name, buffer in plain.named_buffers() if name in saved}
    return {
        name: torch.empty(tensor.shape, dtype=dtype if tensor.is_floating_point() else tensor.dtype, device="meta")
        for name, tensor in tensors.items()
    }


def _renamed_on_disk(plain: PreTrainedModel) -> bool:
    """Whether the names or shapes in a file of this family differ from those in the model (transformers 5: experts, some vision models)."""
    conversions = get_model_conversion_mapping(plain, add_legacy=False)
    return any(not isinstance(conversion, PrefixChange) for conversion in conversions)


def _empty_copy(base: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """The same architecture without weights, as a plain model: no quantizer, generation cache on."""
    config = copy.deepcopy(base.config)
    vars(config).pop("quantization_config", None)
    config.use_cache = True  # off for training only
    config._attn_implementation = "eager"  # never run; and `kinnari.models.attention` gives families SDPA that their class refuses
    with torch.device("meta"):
        empty = type(base)(config, **(without_pooling(type(base)) if kind_of(config) == "encoder" else {}))
    empty.tie_weights()
    for name in empty.all_tied_weights_keys.keys() - base.all_tied_weights_keys.keys():
        # T5's config class always says tied, and loading unties a checkpoint with two matrices (transformers 5.23)
        module, _, weight = name.rpartition(".")
        setattr(empty.get_submodule(module), weight, nn.Parameter(torch.empty_like(empty.get_parameter(name))))
    if base.can_generate():
        empty.generation_config = copy.deepcopy(base.generation_config)
    empty.config.dtype = str(dtype).removeprefix("torch.")
    empty.config.architectures = [type(base).__name__]
    return empty


def _untied(plain: PreTrainedModel) -> bool:
    head, embedding = plain.get_output_embeddings(), plain.get_input_embeddings()
    return head is not None and head.weight is not embedding.weight
