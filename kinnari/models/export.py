"""Models that leave: PEFT adapter folders and merged Hugging Face folders that plain `peft` and `transformers` load."""

import copy
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from kinnari.errors import ConfigError

log = logging.getLogger(__name__)


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


@dataclass(frozen=True)
class MergeGap:
    """How far the merged folder is from the model that was trained and evaluated.

    Attributes:
        max_abs_logit_gap: largest difference of any logit at any probed position.
        greedy_agreement: share of positions where both choose the same token.
        positions: number of positions probed.
    """

    max_abs_logit_gap: float
    greedy_agreement: float
    positions: int


def export_adapter(peft_model: PeftModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> Path:
    """Writes the adapter (safetensors), its config and the tokenizer; `PeftModel.from_pretrained` and
    `AutoPeftModelForCausalLM` load it in any process, since its config names the base by hub id or absolute folder.

    Raises:
        ConfigError: the model has no adapter.
    """
    if not isinstance(peft_model, PeftModel):
        raise ConfigError("A fully tuned model has no adapter to export; export the merged folder instead.")

    def write(work: Path) -> None:
        # save_embedding_layers=False: the default asks the hub whether the vocabulary grew; ours never does
        peft_model.save_pretrained(str(work), safe_serialization=True, save_embedding_layers=False)
        tokenizer.save_pretrained(work)

    return _written_whole(Path(folder), write)


def export_merged(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    *,
    dtype: torch.dtype,
    max_shard: str = "2GB",
) -> MergeReport:
    """Writes base + adapter as one plain Hugging Face folder: safetensors shards, config, generation config, tokenizer.

    Merged weight = W + (alpha / r) B A, added in float32 and rounded once to `dtype`. Over a 4- or 8-bit base, W is
    that base dequantised, the numbers the adapter was trained and evaluated on, not the original checkpoint. `model`
    itself keeps its bits and its mode: the sum is made in new memory, one layer after another.

    Returns:
        What was written. `verify_merge` measures the gap to `model`.
    """
    base: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    merged = _empty_copy(base)
    state = {name: tensor.to("cpu", dtype if tensor.is_floating_point() else tensor.dtype) for name, tensor in merged_weights(base)}
    merged.load_state_dict(state, strict=False, assign=True)
    merged.tie_weights()
    unfilled = [name for name, parameter in merged.named_parameters() if parameter.is_meta]
    surplus = sorted(state.keys() - merged.state_dict().keys())
    if unfilled or surplus:
        raise RuntimeError(f"Merged weights do not fit their own architecture: unfilled {unfilled}, surplus {surplus}.")

    def write(work: Path) -> None:
        merged.save_pretrained(work, max_shard_size=max_shard)
        tokenizer.save_pretrained(work)

    target = _written_whole(Path(folder), write)
    layers = sum(isinstance(module, LoraLayer) for module in base.modules())
    size = sum(path.stat().st_size for path in target.glob("*.safetensors"))
    report = MergeReport(target, _base_kind(base), dtype, layers, size)
    log.info("Merged %d layers on the %s base into %s (%.0f MB).", layers, report.base, target, size / 1e6)
    return report


def merged_weights(base: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """(name in the plain model, tensor) of every weight and saved buffer, adapters added and few-bit weights expanded.

    Names lose the `base_layer` that PEFT inserts; adapter tensors are left out. One layer is expanded at a time.
    """
    adapted = {name: module for name, module in base.named_modules() if isinstance(module, LoraLayer)}
    summed = set()
    for name, layer in adapted.items():
        # float32 for the sum: in bfloat16 a small update would vanish beside a large weight
        weight = _float_weight(layer.get_base_layer())
        for adapter in layer.active_adapters:
            weight = weight + layer.get_delta_weight(adapter).detach().float()
        summed.add(f"{name}.weight")
        yield f"{name}.weight", weight
    saved = base.state_dict().keys()
    tensors: dict[str, Tensor] = dict(base.named_parameters(remove_duplicate=False))
    tensors |= {name: buffer for name, buffer in base.named_buffers(remove_duplicate=False) if name in saved}
    adapter_prefixes = tuple(f"{name}." for name in adapted)
    for key, tensor in tensors.items():
        if key.startswith(adapter_prefixes) and ".base_layer." not in key:
            continue
        name = key.replace(".base_layer.", ".")
        if name in summed:
            continue
        if is_quantized_parameter(tensor):
            tensor = _float_weight(base.get_submodule(key.removesuffix(".weight")))
        yield name, tensor.detach()


def _float_weight(layer: Any) -> Tensor:
    """[out, in] float32 weight of a layer, expanded from 4 or 8 bits where it is held so; the layer is not touched."""
    weight = layer.weight
    if not is_quantized_parameter(weight):
        return weight.detach().float()
    from bitsandbytes import functional

    if type(weight).__name__ == "Params4bit":
        return functional.dequantize_4bit(weight.data, weight.quant_state).float()
    # peft's own dequantisation moves an int8 weight and so loses its scales: the next forward fails (peft 0.21.2).
    # bitsandbytes hands the scales from the weight to the layer's state at the first forward.
    scales = weight.SCB if layer.state.SCB is None else layer.state.SCB
    return functional.int8_vectorwise_dequant(weight.data, scales.to(weight.device)).float()


def is_quantized_parameter(parameter: Tensor) -> bool:
    """Whether bitsandbytes holds this parameter in 4 or 8 bits."""
    return type(parameter).__name__ in ("Params4bit", "Int8Params")


def _base_kind(base: nn.Module) -> str:
    kinds = {type(parameter).__name__ for parameter in base.parameters()}
    if "Params4bit" in kinds:
        return "dequantised 4-bit"
    return "dequantised 8-bit" if "Int8Params" in kinds else "float"


def _empty_copy(base: PreTrainedModel) -> PreTrainedModel:
    """The same architecture without weights, as a plain model: no quantizer, generation cache on."""
    config = copy.deepcopy(base.config)
    if _base_kind(base) != "float":
        del config.quantization_config
    config.use_cache = True  # off for training only
    with torch.device("meta"):
        empty = type(base)(config)
    empty.generation_config = copy.deepcopy(base.generation_config)
    return empty


def _written_whole(folder: Path, write: Callable[[Path], None]) -> Path:
    """Fills `folder.tmp` and renames it to `folder`, so that a killed export never leaves half a model behind."""
    folder = folder.expanduser().resolve()
    if folder.exists() and not _is_model_folder(folder):
        raise ConfigError(f"{folder} exists and holds no model, so it is not overwritten; give another export folder.")
    work = folder.with_name(f"{folder.name}.tmp")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    write(work)
    if folder.exists():
        before = folder.with_name(f"{folder.name}.before")
        shutil.rmtree(before, ignore_errors=True)
        os.replace(folder, before)
        os.replace(work, folder)
        shutil.rmtree(before)
    else:
        os.replace(work, folder)
    return folder


def _is_model_folder(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    names = {path.name for path in folder.iterdir()}
    return not names or bool(names & {"config.json", "adapter_config.json"})


def verify_merge(model: PreTrainedModel | PeftModel, folder: Path, input_ids: Tensor, *, dtype: torch.dtype) -> MergeGap:
    """Loads the merged folder with plain transformers and compares its logits with those of the trained model.

    Args:
        model: the model that was exported; its mode is restored afterwards.
        folder: what `export_merged` wrote.
        input_ids: [B, T] int64 without padding; a seq2seq model reads them on both sides.
        dtype: dtype to load the folder in, the one it will be used in.
    """
    base: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    auto: Any = AutoModelForSeq2SeqLM if base.config.is_encoder_decoder else AutoModelForCausalLM
    device = next(base.parameters()).device
    merged = auto.from_pretrained(folder, dtype=dtype, use_safetensors=True).to(device).eval()
    inputs = {"input_ids": input_ids.to(device)}
    if base.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = inputs["input_ids"]
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            ours, theirs = model(**inputs).logits.float(), merged(**inputs).logits.float()
    finally:
        model.train(was_training)
    agreement = (ours.argmax(-1) == theirs.argmax(-1)).float().mean().item()
    gap = MergeGap((ours - theirs).abs().max().item(), agreement, input_ids.numel())
    log.info("Merged against trained model: largest logit gap %.2e, same greedy token at %.1f %% of %d positions.",
             gap.max_abs_logit_gap, 100 * agreement, gap.positions)  # fmt: skip
    return gap
