"""Old `pytorch_model.bin` checkpoints: tensors taken out once without executing anything, and kept as safetensors."""

import hashlib
import json
import logging
import pickle
import shutil
import zipfile
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from kinnari.errors import ConfigError
from kinnari.models.cache import built_once, cache_root
from kinnari.models.checkpoint_files import PICKLED, SAFETENSORS, Weights

log = logging.getLogger(__name__)

# Files of other frameworks and optimizers that may lie beside the weights
_NOT_COPIED = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx", ".ot", ".safetensors", ".gguf", ".index.json")


def as_safetensors(folder: Path, weights: Weights, cache: Path | None = None) -> Path:
    """A folder in the cache with the model of `folder` whose pickled weights are now safetensors, the same bits.

    Made once per state of the files (names, sizes, times of writing). Files are read with `torch.load(weights_only=True)`.

    Args:
        folder: a model folder.
        weights: its pickled files.
        cache: folder of the converted models; by default `$KINNARI_CACHE` or `~/.cache/kinnari/models`.

    Raises:
        ConfigError: a file holds anything pickled beside tensors, or is damaged. Nothing of it is executed.
    """
    target = cache_root(cache) / f"{_readable_name(folder)}-{_state_of(folder)}"
    return built_once(target, lambda work: _write(folder, weights, work))


def _readable_name(folder: Path) -> str:
    # the hub's cache: models--owner--name/snapshots/COMMIT
    return folder.parents[1].name.rpartition("--")[2] if folder.parent.name == "snapshots" else folder.name


def _state_of(folder: Path) -> str:
    entries = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in sorted(folder.iterdir()) if file.is_file()]
    return hashlib.sha256(json.dumps([str(folder.resolve()), entries]).encode()).hexdigest()[:16]


def _write(folder: Path, weights: Weights, work: Path) -> None:
    size = sum(file.stat().st_size for file in weights.files)
    log.info("Converting the pickled weights of %s once to safetensors (%.0f MB).", folder, size / 1e6)
    for file in folder.iterdir():
        if file.is_file() and not file.name.endswith(_NOT_COPIED):
            shutil.copyfile(file, work / file.name)
    places: dict[str, str] = {}
    for file in weights.files:
        tensors = unpickled_tensors(file)
        name = file.name.replace(PICKLED.suffix, SAFETENSORS.suffix)
        name = SAFETENSORS.single if weights.index is None else name
        save_file(_standalone(tensors.items()), work / name, metadata={"format": "pt"})
        places |= dict.fromkeys(tensors, name)
        log.info("Converted %s: %d tensors.", file.name, len(tensors))
    if weights.index is not None:
        lost = sorted(set(weights.index) - set(places))
        if lost:
            raise ConfigError(f"{folder} lacks {len(lost)} weights that {PICKLED.index} promises, such as {lost[0]}. Copy it again.")
        index = {"metadata": {"total_size": size}, "weight_map": places}
        (work / SAFETENSORS.index).write_text(json.dumps(index, indent=1), encoding="utf-8")


def unpickled_tensors(file: Path) -> dict[str, Tensor]:
    """name -> tensor (CPU, memory-mapped where the format allows) of a state dict, by an unpickler that knows tensors alone.

    Raises:
        ConfigError: anything else is in the file, or it is damaged. Nothing of it is executed.
    """
    try:
        state = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    # torch raises RuntimeError for damaged archives and its old tar format, and whatever its unpickler stumbles over
    except Exception as error:
        raise ConfigError(_refusal(file, error)) from error
    if not isinstance(state, dict) or not state or not all(isinstance(key, str) for key in state):
        raise ConfigError(f"{file} holds no state dict (weight name -> tensor) but a {type(state).__name__}. {_CONVERT}")
    odd = [key for key, value in state.items() if not isinstance(value, Tensor) or value.is_sparse or value.is_quantized]
    if odd:
        raise ConfigError(f"{file} holds more than a model's weights: {odd[0]!r} is a {type(state[odd[0]]).__name__}. {_CONVERT}")
    return {key: tensor.detach() for key, tensor in state.items()}


_CONVERT = (
    "Where you trust its author, load it once elsewhere with transformers and write it with `save_pretrained`, which makes safetensors; "
    "give model.path that folder."
)


def _refusal(file: Path, error: Exception) -> str:
    reason = str(error).strip()
    if isinstance(error, pickle.UnpicklingError):
        found = next((line.strip() for line in reason.splitlines() if "GLOBAL" in line or "Unsupported" in line), reason.split("\n")[0])
        return (
            f"{file} holds pickled code or objects beside tensors ({found}). Reading them could run anything, so nothing was "
            f"read. {_CONVERT}"
        )
    if "legacy .tar" in reason:
        return f"{file} is in torch's format of before 2018 (tar), which cannot be read safely. {_CONVERT}"
    return (
        f"{file} ({file.stat().st_size} bytes) cannot be read: {type(error).__name__}: {reason.splitlines()[0] if reason else ''}. "
        "It is cut off or damaged; copy or download it again."
    )


def _standalone(tensors: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Each tensor with memory of its own, as safetensors asks: tied weights become two copies, and are tied again on loading."""
    seen: set[int] = set()
    apart = {}
    for name, tensor in tensors:
        whole = tensor.is_contiguous() and tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
        pointer = tensor.untyped_storage().data_ptr()
        apart[name] = tensor if whole and pointer not in seen else tensor.clone(memory_format=torch.contiguous_format)
        seen.add(pointer)
    return apart
