"""A Hugging Face folder as one GGUF file, llama.cpp's format, in 32, 16, 8 or 4 bits."""

import json
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGML_QUANT_VERSION, GGMLQuantizationType, GGUFType, GGUFValueType, GGUFWriter, LlamaFileType, Metadata, size_label
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, PreTrainedConfig

from kinnari.errors import ConfigError
from kinnari.export.gguf_architectures import find_architecture, write_settings
from kinnari.export.gguf_tensors import KINDS, Stored, count_types, plan_tensors, stored_values
from kinnari.export.gguf_vocabulary import read_vocabulary, write_vocabulary
from kinnari.models.gguf_config import llama3_divisors

log = logging.getLogger(__name__)

FILE_TYPES = {
    "F32": LlamaFileType.ALL_F32,
    "F16": LlamaFileType.MOSTLY_F16,
    "BF16": LlamaFileType.MOSTLY_BF16,
    "Q8_0": LlamaFileType.MOSTLY_Q8_0,
    "Q4_0": LlamaFileType.MOSTLY_Q4_0,
    "Q4_1": LlamaFileType.MOSTLY_Q4_1,
}
PROGRESS_SECONDS = 5.0


@dataclass(frozen=True)
class GgufReport:
    """What a GGUF file holds.

    Attributes:
        architecture: `general.architecture`.
        kind: the type asked for.
        tensors: number of tensors by the type they are stored in.
        weights: number of weights.
        bytes: size of the file.
        bits_per_weight: bits of the tensors over weights; vocabulary and metadata do not count.
        seconds: it took.
    """

    architecture: str
    kind: str
    tensors: Mapping[str, int]
    weights: int
    bytes: int
    bits_per_weight: float
    seconds: float


class _Writer(GGUFWriter):
    """A writer that can also write an empty list: llama.cpp wants the key of the merges from a vocabulary of bytes alone too."""

    def _pack_val(self, val: Any, vtype: GGUFValueType, add_vtype: bool, sub_type: GGUFValueType | None = None) -> bytes:
        if vtype == GGUFValueType.ARRAY and sub_type is not None and len(val) == 0:
            head = self._pack("I", vtype) if add_vtype else b""
            return head + self._pack("I", sub_type) + self._pack("Q", 0)
        return super()._pack_val(val, vtype, add_vtype, sub_type)


def write_gguf(folder: Path, file: Path, kind: str) -> GgufReport:
    """Writes the model and tokenizer of a folder as a GGUF file that llama.cpp runs and `convert_gguf` reads back.

    F32 reads back to the same bits (Gemma's norms, stored as 1 + weight, to within 6e-8). F16 and BF16 round each weight
    once. Q8_0, Q4_0 and Q4_1 hold blocks of 32 weights with one float16 scale (Q4_1 with an offset too), rounded to the
    nearest step by `gguf.quants`; see `stored_type` for what stays finer. Memory: the largest tensor, in its stored type.

    Args:
        folder: plain Hugging Face folder: config.json, safetensors, tokenizer.
        file: to write; an existing one is replaced once the new one is whole.
        kind: one of `KINDS`.

    Raises:
        ConfigError: unknown kind, no whole unquantised folder, an architecture, setting or tokenizer that GGUF cannot hold.

    Source: github.com/ggml-org/ggml, docs/gguf.md, and convert_hf_to_gguf.py of github.com/ggml-org/llama.cpp.
    """
    if kind not in KINDS:
        raise ConfigError(f"export.gguf={kind} is no type that can be written; choose one of {', '.join(KINDS)}.")
    started = time.monotonic()
    folder, file = Path(folder), Path(file)
    config = _read_config(folder)
    architecture = find_architecture(config).name
    sources = _find_tensors(folder)
    tensors = plan_tensors(config, {name: shape for name, (_, shape) in sources.items()}, architecture, kind)
    tensors += _rope_tensor(config)
    writer = _Writer(None, architecture)
    _describe(writer, folder, sum(int(np.prod(tensor.shape)) for tensor in tensors))
    write_settings(writer, config)
    writer.add_file_type(FILE_TYPES[kind])
    log.info("Reading the vocabulary of %s.", folder)
    write_vocabulary(writer, read_vocabulary(folder, config))
    writer.add_quantization_version(GGML_QUANT_VERSION)
    for tensor in tensors:
        # the shape counts weights, not bytes, so the dtype must not be uint8
        writer.add_tensor_info(tensor.name, tensor.shape, np.dtype(np.float32), tensor.nbytes, tensor.type)
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f".{file.name}.{os.getpid()}.partial")
    try:
        _write(writer, aside, tensors, sources, config)
        aside.replace(file)
    finally:
        aside.unlink(missing_ok=True)
    return _report(architecture, kind, tensors, file, time.monotonic() - started)


def _report(architecture: str, kind: str, tensors: list[Stored], file: Path, seconds: float) -> GgufReport:
    weights = sum(int(np.prod(tensor.shape)) for tensor in tensors)
    bits = 8 * sum(tensor.nbytes for tensor in tensors) / weights
    report = GgufReport(architecture, kind, count_types(tensors), weights, file.stat().st_size, bits, seconds)
    log.info("Wrote %s: %.1f MB, %.2f bits a weight, %.0f s.", file, report.bytes / 1e6, bits, seconds)
    return report


def _read_config(folder: Path) -> PreTrainedConfig:
    path = folder / "config.json"
    if not path.is_file():
        raise ConfigError(f"{folder} has no config.json, so it is no Hugging Face folder; GGUF is written from a whole model's folder.")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if raw.get("quantization_config"):
            method = raw["quantization_config"].get("quant_method", "unknown")
            raise ConfigError(
                f"The weights in {folder} are quantised already ({method}); GGUF is written from plain ones. "
                f"Merge them into a dequantised folder first (export.format=hf)."
            )
        return AutoConfig.from_pretrained(folder)
    except (OSError, KeyError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path} describes no model that transformers knows ({error}).") from error


def _find_tensors(folder: Path) -> dict[str, tuple[Path, tuple[int, ...]]]:
    """Name -> (file, shape) of every tensor of the folder."""
    files = sorted(folder.glob("model*.safetensors"))
    if not files:
        raise ConfigError(
            f"{folder} holds no model*.safetensors; GGUF is written from safetensors. Merge adapters and save the model first."
        )
    found: dict[str, tuple[Path, tuple[int, ...]]] = {}
    for file in files:
        try:
            with safe_open(file, "pt") as weights:
                found |= {name: (file, tuple(weights.get_slice(name).get_shape())) for name in weights.keys()}  # noqa: SIM118  # no mapping
        except SafetensorError as error:
            raise ConfigError(f"{file} is truncated or damaged ({error}). Write the folder again.") from error
    return found


def _describe(writer: GGUFWriter, folder: Path, weights: int) -> None:
    """Name, size, licence, base models and data sets, as far as the folder's model card tells them."""
    metadata = Metadata.load(None, folder, None, weights)
    metadata.name = metadata.name or folder.resolve().name
    metadata.size_label = metadata.size_label or size_label(weights, 0, 0, 0)
    writer.add_type(GGUFType.MODEL)
    metadata.set_gguf_meta_model(writer)


def _rope_tensor(config: PreTrainedConfig) -> list[Stored]:
    rope = config.to_dict().get("rope_parameters") or {}
    if rope.get("rope_type") != "llama3":
        return []
    return [Stored("rope_freqs.weight", "", (config.head_dim // 2,), GGMLQuantizationType.F32, None)]


def _write(
    writer: GGUFWriter, file: Path, tensors: list[Stored], sources: Mapping[str, tuple[Path, tuple[int, ...]]], config: PreTrainedConfig
) -> None:
    writer.write_header_to_file(file)
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    total = sum(tensor.nbytes for tensor in tensors)
    written, said = 0, time.monotonic()
    log.info("Writing %d tensors, %.0f MB.", len(tensors), total / 1e6)
    try:
        for tensor in tensors:
            writer.write_tensor_data(_values(tensor, sources, config))
            written += tensor.nbytes
            if time.monotonic() - said > PROGRESS_SECONDS:
                said = time.monotonic()
                log.info("%.0f of %.0f MB (%s).", written / 1e6, total / 1e6, tensor.name)
    finally:
        writer.close()


def _values(tensor: Stored, sources: Mapping[str, tuple[Path, tuple[int, ...]]], config: PreTrainedConfig) -> np.ndarray:
    if not tensor.source:
        return llama3_divisors(config.rope_parameters, config.head_dim)
    with safe_open(sources[tensor.source][0], "pt") as weights:
        part = weights.get_slice(tensor.source)

        def rows(wanted: slice) -> torch.Tensor:
            return part[wanted]

        return stored_values(tensor, rows, config)
