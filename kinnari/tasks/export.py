"""task=export: a plain Hugging Face folder out of a training checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from kinnari.errors import ConfigError
from kinnari.models.export import export_adapter, export_merged, verify_merge
from kinnari.models.load import stored_dtype
from kinnari.strategies.checkpoint_io import latest_intact
from kinnari.strategies.export import rebuild_from_state
from kinnari.tasks import build


def export(cfg: DictConfig) -> dict[str, Any]:
    """Write `adapter` and `merged` into output_dir from `task.checkpoint`, with the settings of the run that made it."""
    given = Path(cfg.task.checkpoint)
    file = given if given.is_file() else latest_intact(given / "checkpoints" / "best") or latest_intact(given / "checkpoints")
    if file is None:
        raise ConfigError(f"task.checkpoint={given} holds no intact checkpoint; give a run's output folder or a .ckpt file.")
    run = run_config(file)
    parts = build.parts(run)
    state = torch.load(file, map_location="cpu", weights_only=True)["state_dict"]
    result = write_folders(run, parts, build.tokenizer(run), state, Path(cfg.output_dir), merged=cfg.task.merged, probe=None)
    return {"checkpoint": str(file), **result}


def write_folders(
    cfg: DictConfig,
    parts: build.Parts,
    tokenizer: PreTrainedTokenizerBase,
    state: Mapping[str, Tensor],
    folder: Path,
    *,
    merged: bool,
    probe: Tensor | None,
) -> dict[str, Any]:
    """Write `adapter` and `merged` into `folder` from the trained tensors, put on the base as its checkpoint stores it.

    That base is what plain `peft` loads under the adapter, so both folders are the same model to the last bit of the sum; training
    may have held the base in fewer bits. A 4- or 8-bit base stays what it was in training, dequantised.

    Args:
        state: `state_dict` of a training checkpoint.
        merged: whether to write the merged folder; after full tuning it is written in any case.
        probe: token ids [B, T] on which the merged folder is compared with the adapter model; None compares nothing.
    """
    quantised = parts.tuning.name in ("qlora", "lora_int8")
    stored = stored_dtype(parts.spec, seed=cfg.seed)
    trained = {name.removeprefix("model."): tensor for name, tensor in state.items()}
    base_dtype = parts.weights if quantised else stored
    model = rebuild_from_state(parts.spec, parts.tuning, trained, base_dtype=base_dtype, compute_dtype=parts.compute, seed=cfg.seed)
    result: dict[str, Any] = {"adapter_dir": None, "merged_dir": None}
    if isinstance(model, PeftModel):
        result["adapter_dir"] = str(export_adapter(model, tokenizer, folder / "adapter"))
    if merged or result["adapter_dir"] is None:
        result["merged_dir"] = str(export_merged(model, tokenizer, folder / "merged", dtype=stored).folder)
        if probe is not None:
            gap = verify_merge(model, folder / "merged", probe, dtype=stored)
            result |= {"merge/max_abs_logit_gap": gap.max_abs_logit_gap, "merge/greedy_agreement": gap.greedy_agreement}
    return result


def run_config(checkpoint: Path) -> DictConfig:
    """The resolved config beside a checkpoint, one to three folders up."""
    for folder in checkpoint.absolute().parents[:3]:
        if (folder / "config.yaml").is_file():
            cfg = OmegaConf.load(folder / "config.yaml")
            assert isinstance(cfg, DictConfig)
            return cfg
    raise ConfigError(f"No config.yaml above {checkpoint}; export reads the settings of the run from its output folder.")
