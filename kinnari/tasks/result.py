"""result.json: what a run came to, in one file that scripts and sweeps read."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

CURVE_POINTS = 1000
PACKAGES = ("torch", "pytorch-lightning", "transformers", "peft", "bitsandbytes", "deepspeed", "hydra-core")


def config_hash(cfg: DictConfig) -> str:
    """16 hex digits over the resolved config without the folder it writes to: equal hashes are equal experiments."""
    values = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(values, dict)
    values.pop("output_dir")
    text = json.dumps(values, sort_keys=True, default=str).replace(str(cfg.output_dir), "")
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def result_file(cfg: DictConfig) -> Path:
    """Where the result of a run is."""
    return Path(cfg.output_dir) / "result.json"


def write_result(cfg: DictConfig, status: str, seconds: float, values: dict[str, Any]) -> Path:
    """Write `output_dir/result.json`, replacing it whole; numbers that are not finite become null."""
    path = result_file(cfg)
    path.parent.mkdir(parents=True, exist_ok=True)
    head = {"task": cfg.task.name, "status": status, "seconds": round(seconds, 2), "config_hash": config_hash(cfg)}
    document = {**head, **values, "versions": versions()}
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(finite(document), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(temporary, path)
    return path


def read_result(cfg: DictConfig) -> dict[str, Any]:
    """The result that a rank wrote."""
    return json.loads(result_file(cfg).read_text(encoding="utf-8"))


def thin(curve: list[float]) -> list[float]:
    """At most CURVE_POINTS values of a curve, evenly chosen, the first and the last among them."""
    if len(curve) <= CURVE_POINTS:
        return curve
    return [curve[round(i * (len(curve) - 1) / (CURVE_POINTS - 1))] for i in range(CURVE_POINTS)]


def finite(value: Any) -> Any:
    """JSON has no NaN: null instead, at any depth."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list | tuple) else value


def versions() -> dict[str, str | None]:
    """Versions of what computes, and the git commit of the working folder if it is one."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    found["git_commit"] = commit.stdout.strip() or None
    return found
