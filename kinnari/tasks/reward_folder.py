"""A trained reward model as a folder, and back: what it was built on, its adapter or weights, and the head beside them.

reward/reward.json                settings of the model and of the training that matter to scores; no weights of the base
       reward_head.safetensors    the head, float32
       adapter/ or weights/       what was trained of the backbone
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from peft import PeftModel
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from kinnari.errors import ConfigError
from kinnari.export.adapter import export_adapter
from kinnari.export.merged import export_merged
from kinnari.models.half_precision import guard_float16
from kinnari.models.load import load_model, stored_dtype
from kinnari.models.reward import RewardSettings
from kinnari.models.scalar_head import ScalarHead
from kinnari.models.spec import ModelSpec
from kinnari.strategies.tuning import Tuning, apply_tuning, quantization_config
from kinnari.tasks import build

HEAD = "reward_head.safetensors"
DESCRIPTION = "reward.json"
HEAD_PREFIX = "reward_head."


def write_reward_folder(
    cfg: DictConfig, parts: build.Parts, tokenizer: PreTrainedTokenizerBase, state: Mapping[str, Tensor], folder: Path
) -> Path:
    """Write the model out of the trained tensors of a checkpoint (`state_dict`, whole, on the CPU)."""
    quantised = parts.tuning.name in ("qlora", "lora_int8")
    stored = stored_dtype(parts.spec, seed=cfg.seed)
    quantization = quantization_config(parts.tuning, parts.compute, sharded=False)
    base = load_model(parts.spec, dtype=parts.weights if quantised else stored, quantization=quantization, seed=cfg.seed)
    torch.manual_seed(cfg.seed)  # adapters of frozen blocks are what they were when the run began: drawn, and without effect
    model = apply_tuning(base, parts.tuning, parts.spec)
    fill(model, {name.removeprefix("model."): tensor for name, tensor in state.items() if name.startswith("model.")})
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(model, PeftModel):
        export_adapter(model, tokenizer, folder / "adapter")
    else:
        export_merged(model, tokenizer, folder / "weights", dtype=stored)
    head = {name.removeprefix(HEAD_PREFIX): tensor.contiguous() for name, tensor in state.items() if name.startswith(HEAD_PREFIX)}
    save_file(head, folder / HEAD)
    description = {
        "model": asdict(parts.spec),
        "tuning": asdict(parts.tuning) | {"adapter": None},
        "reward": {key: value for key, value in build.plain(cfg.reward).items() if key != "path"},
        "template": build.plain(cfg.model.template),
        "seed": cfg.seed,
    }
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return folder


def fill(model: torch.nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copy trained tensors into the parameters of their names.

    Raises:
        ValueError: a tensor has no place.
    """
    named = dict(model.named_parameters())
    with torch.no_grad():
        for name, tensor in state.items():
            if name not in named or named[name].shape != tensor.shape:
                raise ValueError(f"{name} {tuple(tensor.shape)} has no place in this model; was it trained with other settings?")
            named[name].copy_(tensor)


def read_description(folder: Path) -> dict[str, Any]:
    """What `reward.json` says: model, tuning, reward, template, seed.

    Raises:
        ConfigError: the folder is no reward model, or the file is damaged or of other settings than this version has.
    """
    file = Path(folder).expanduser() / DESCRIPTION
    if not file.is_file():
        inside = Path(folder).expanduser() / "reward"
        nearest = f": reward.path={inside}" if (inside / DESCRIPTION).is_file() else ""
        raise ConfigError(f"reward.path={folder} holds no {DESCRIPTION}; give the folder `reward` that task=reward wrote{nearest}.")
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        ModelSpec(**told["model"]), Tuning(**told["tuning"]), RewardSettings(**told["reward"]), dict(told["template"]), int(told["seed"])
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            f"{file} is damaged, or was written by another version ({type(error).__name__}: {error}). Copy the folder again, or write it "
            "anew with task=reward."
        ) from error
    return told


def check_reward_folder(folder: Path) -> None:
    """Look into every file of a reward model, reading no weights but the head's.

    Raises:
        ConfigError: the folder is no reward model, or a file of it is missing or damaged.
    """
    told, folder = read_description(folder), Path(folder).expanduser()
    read_head(folder)
    adapter = told["tuning"]["name"] != "full"
    needed = ["adapter/adapter_config.json", "adapter/adapter_model.safetensors"] if adapter else ["weights/config.json"]
    for name in needed:
        if not (folder / name).is_file():
            raise ConfigError(f"{folder / name} is missing, so the reward model is not whole. Copy the folder again, or run task=reward.")
    for file in sorted(folder.rglob("*.json")):
        try:
            json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ConfigError(f"{file} is truncated or damaged ({error}). Copy the folder again, or run task=reward.") from error
    for file in sorted(folder.rglob("*.safetensors")):
        opened(file)


def opened(file: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of a safetensors file.

    Raises:
        ConfigError: it is missing, truncated or damaged.
    """
    try:
        with safe_open(file, framework="pt") as tensors:
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise ConfigError(f"{file} is missing, truncated or damaged ({error}). Copy the folder again, or run task=reward.") from error


def read_head(folder: Path) -> ScalarHead:
    """The head of a reward folder, in eval mode.

    Raises:
        ConfigError: its file is missing, damaged or no head, or holds numbers that are none.
    """
    file = Path(folder).expanduser() / HEAD
    shape = opened(file).get("weight", ())
    weight = load_file(file)["weight"] if len(shape) == 2 and shape[0] == 1 else None
    if weight is None or not bool(weight.isfinite().all()):
        why = "holds NaN or infinite numbers" if weight is not None else "is no head: its weight must be [1, hidden size]"
        raise ConfigError(f"{file} {why}. Copy the folder again, or run task=reward.")
    head = ScalarHead(weight.shape[1])
    head.load_state_dict({"weight": weight})
    return head.eval()


def load_backbone(folder: Path, *, dtype: torch.dtype, device: torch.device | str = "cpu") -> tuple[Any, RewardSettings]:
    """The backbone with what was trained of it, and how its scores are read off; in eval mode, nothing takes a gradient.

    Args:
        dtype: of the weights; of what is computed with, where the base was held in few bits.
    """
    folder = Path(folder).expanduser()
    told = read_description(folder)
    spec, tuning = ModelSpec(**told["model"]), Tuning(**told["tuning"])
    if tuning.name == "full":
        spec = ModelSpec(**{**told["model"], "path": str(folder / "weights"), "package": None, "toy": None, "shrunk": False})
        model: Any = load_model(spec, dtype=dtype, device=device)
    else:
        quantization = quantization_config(tuning, dtype, sharded=False)
        base = load_model(spec, dtype=dtype, quantization=quantization, device=device, seed=told["seed"])
        model = apply_tuning(base, Tuning(**{**told["tuning"], "adapter": str(folder / "adapter"), "gradient_checkpointing": False}), spec)
    model.requires_grad_(False)
    guard_float16(model)
    return model.eval(), RewardSettings(**told["reward"])
