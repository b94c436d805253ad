"""task=recover: a tuned model out of its published weight delta and the base it was tuned from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from kinnari.export.base_folder import base_folder
from kinnari.export.delta_manifest import Manifest
from kinnari.export.delta_recovery import recover_delta
from kinnari.export.folder import file_list


def recover(cfg: DictConfig) -> dict[str, Any]:
    """Write `recovered` into output_dir from `task.delta` and `task.base`, the base that the delta names where it is null.

    `verified_tensors` in the result are those whose checksum was found to be the tuned model's; always all.
    """
    delta = Path(cfg.task.delta)
    manifest = Manifest.read(delta)
    base = base_folder(manifest.base if cfg.task.base is None else cfg.task.base, manifest.revision if cfg.task.base is None else None)
    report = recover_delta(delta, base, Path(cfg.output_dir) / "recovered")
    return {
        "recovered_dir": str(report.folder),
        "base": report.base,
        "base_dir": str(base),
        "files": file_list(Path(cfg.output_dir), [report.folder]),
        "verified_tensors": report.verified_tensors,
    }
