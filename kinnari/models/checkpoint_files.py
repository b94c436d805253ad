"""The files of a checkpoint folder, judged before any library reads them: which hold the weights, and whether they are whole."""

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from kinnari.errors import ConfigError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Layout:
    """Names of the weight files in one format."""

    single: str
    index: str
    suffix: str


SAFETENSORS = Layout("model.safetensors", "model.safetensors.index.json", ".safetensors")
PICKLED = Layout("pytorch_model.bin", "pytorch_model.bin.index.json", ".bin")
LAYOUTS = (SAFETENSORS, PICKLED)

# JSON that transformers reads for what it means; all must be objects
_SETTINGS = ("config.json", "generation_config.json", "tokenizer_config.json", "tokenizer.json", "special_tokens_map.json",
             "added_tokens.json")  # fmt: skip


@dataclass(frozen=True)
class Weights:
    """The weight files of a folder.

    Attributes:
        layout: their format.
        files: in the order of the index, or the single one.
        index: weight name -> file name, None for a single file.
    """

    layout: Layout
    files: tuple[Path, ...]
    index: Mapping[str, str] | None


def read_settings(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        ConfigError: it is not there, no UTF-8, no JSON, or no object.
    """
    try:
        value = json.loads(path.read_bytes().decode("utf-8"))
    # RecursionError: brackets nested a thousand deep; ValueError: any other nonsense, integers of 5,000 digits among it
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"{path} cannot be read as JSON ({str(error).splitlines()[0] or type(error).__name__}): it is absent, cut off or damaged. "
            "Copy the folder again from where it came."
        ) from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path} holds a {type(value).__name__}, and must hold a JSON object. Copy the folder again from where it came.")
    return value


def read_index(path: Path) -> dict[str, str]:
    """weight name -> name of the file beside the index that holds it.

    Raises:
        ConfigError: no such object, or a name that is not a plain file name (`../x`, `/etc/x`): files outside the folder are not read.
    """
    weight_map = read_settings(path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map or not all(isinstance(name, str) for name in weight_map.values()):
        raise ConfigError(f"{path} has no `weight_map` from weights to file names. Copy the folder again from where it came.")
    for name in weight_map.values():
        if not re.fullmatch(r"[\w][\w.\-]*", name) or not name.endswith((SAFETENSORS.suffix, PICKLED.suffix)):
            raise ConfigError(
                f"{path} names {name!r}, which is no weight file beside it: an index must not point outside its folder. "
                "Do not use this checkpoint unless you know why it does."
            )
    return weight_map


def find_weights(folder: Path) -> Weights:
    """The weights of `folder`, safetensors before pickled files.

    Raises:
        ConfigError: there are none, the index is damaged, or a shard that it names is missing.
    """
    for layout in LAYOUTS:
        if (folder / layout.single).is_file():
            return Weights(layout, (folder / layout.single,), None)
        if (folder / layout.index).is_file():
            index = read_index(folder / layout.index)
            files = tuple(folder / name for name in dict.fromkeys(index.values()))
            missing = [file.name for file in files if not file.is_file()]
            if missing:
                raise ConfigError(
                    f"{folder} lacks {len(missing)} of the {len(files)} files that {layout.index} names, such as {missing[0]}. "
                    "Copy or download the missing ones."
                )
            return Weights(layout, files, index)
    raise ConfigError(
        f"{folder} holds no weights: neither {SAFETENSORS.single} nor {SAFETENSORS.index} with its shards (nor the older "
        f"{PICKLED.single}). Give model.path a whole Hugging Face folder, a .gguf file or a hub id."
    )


def check_settings(folder: Path) -> None:
    """Raises ConfigError unless `folder` is a model's, with settings that are JSON objects."""
    if (folder / "adapter_config.json").is_file():
        raise ConfigError(
            f"model.path={folder} is the folder of an adapter, not of a model. Set model.adapter={folder} and choose the model it was made "
            "for, or merge it first (task=export)."
        )
    if not (folder / "config.json").is_file():
        raise ConfigError(f"{folder} holds no config.json, so it is no model folder. Copy the whole folder, or give a hub id.")
    for name in _SETTINGS:
        if (folder / name).is_file():
            read_settings(folder / name)
    if "transformers_weights" in read_settings(folder / "config.json"):
        raise ConfigError(
            f"{folder / 'config.json'} sends transformers to weight files of its own choosing (`transformers_weights`). Remove that line "
            f"and name the weights {SAFETENSORS.single}."
        )


def check_whole(weights: Weights) -> None:
    """Reads the headers of safetensors files: their own checks find cut-off files, and the index must be true.

    Raises:
        ConfigError: a file is truncated or damaged, or lacks a weight that the index promises.
    """
    if weights.layout is not SAFETENSORS:
        return
    for file in weights.files:
        try:
            with safe_open(file, framework="pt") as tensors:
                held = set(tensors.keys())
        except (SafetensorError, OSError, ValueError) as error:
            raise ConfigError(
                f"{file} ({file.stat().st_size} bytes) is truncated, damaged or no safetensors file ({error}). Copy or download it again."
            ) from error
        promised = {weight for weight, name in (weights.index or {}).items() if name == file.name}
        if promised - held:
            raise ConfigError(
                f"{file} lacks {len(promised - held)} weights that the index promises, such as {min(promised - held)}: files of "
                "different checkpoints were mixed. Copy the whole folder again."
            )
