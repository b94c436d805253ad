"""task=export: a plain Hugging Face folder out of a training checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from kinnari.errors import ConfigError
from kinnari.strategies.checkpoint_io import latest_intact
from kinnari.strategies.export import export_from_state
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
    folder = Path(cfg.output_dir)
    adapter = None if parts.tuning.name == "full" else folder / "adapter"
    merged = folder / "merged" if cfg.task.merged or adapter is None else None
    export_from_state(
        parts.spec,
        parts.tuning,
        {name.removeprefix("model."): tensor for name, tensor in state.items()},
        build.tokenizer(run),
        adapter_folder=adapter,
        merged_folder=merged,
        base_dtype=parts.weights,
        compute_dtype=parts.compute,
        dtype=parts.weights,
        seed=run.seed,
    )
    return {"checkpoint": str(file), "adapter_dir": adapter and str(adapter), "merged_dir": merged and str(merged)}


def run_config(checkpoint: Path) -> DictConfig:
    """The resolved config beside a checkpoint, one to three folders up."""
    for folder in checkpoint.absolute().parents[:3]:
        if (folder / "config.yaml").is_file():
            cfg = OmegaConf.load(folder / "config.yaml")
            assert isinstance(cfg, DictConfig)
            return cfg
    raise ConfigError(f"No config.yaml above {checkpoint}; export reads the settings of the run from its output folder.")
