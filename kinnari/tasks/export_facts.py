"""What a run's folder tells for the model card: settings, data, metrics and the command that repeats it."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from kinnari.export.card import CardFacts
from kinnari.models.spec import ModelSpec
from kinnari.tasks import build

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
# Settings of a machine, not of the experiment.
_OF_THE_MACHINE = ("output_dir", "hydra.", "checkpoint", "preparation.", "logger", "callbacks", "batch.num_workers", "task.samples")
PACKAGES = ("torch", "transformers", "peft", "pytorch-lightning", "bitsandbytes", "deepspeed")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a run came to, for one of its checkpoints.

    Attributes:
        sources: `data/lineage.json`.
        before, after: held-out metrics; `after` is of this very checkpoint, or empty.
        steps: optimizer steps of the checkpoint.
        precision: the run's, `auto` resolved; None where it was not recorded.
        command: what was typed, without paths of the machine.
        versions: of the libraries.
    """

    sources: Mapping[str, Any] = field(default_factory=dict)
    before: Mapping[str, float] = field(default_factory=dict)
    after: Mapping[str, float] = field(default_factory=dict)
    steps: int | None = None
    precision: str | None = None
    command: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)


def measured_of(run_dir: Path | None, checkpoint: Mapping[str, Any] | None, file_name: str | None) -> Measured:
    """Read what lies in a run's folder.

    Args:
        checkpoint, file_name: the loaded .ckpt; None stands for what the run ended with.
    """
    if run_dir is None:
        return Measured()
    result = _read(run_dir / "result.json")
    steps = result.get("steps") if checkpoint is None else int(checkpoint["global_step"])
    after: dict[str, float] = {}
    if steps is not None and steps == result.get("steps"):
        after = metrics(result, "after")
    elif checkpoint is not None and (best := _best_loss(checkpoint, str(file_name))) is not None:
        after = {"loss": best, "perplexity": math.exp(best)}
    return Measured(
        sources=_read(run_dir / "data" / "lineage.json"),
        before=metrics(result, "before"),
        after=after,
        steps=steps,
        precision=result.get("precision"),
        command=command(run_dir),
        versions={name: found for name in PACKAGES if (found := result.get("versions", {}).get(name))},
    )


def measured_now(run_dir: Path, result: Mapping[str, Any], versions: Mapping[str, str | None]) -> Measured:
    """The same at the end of a run, before its result.json is written."""
    return Measured(
        sources=_read(run_dir / "data" / "lineage.json"),
        before=metrics(result, "before"),
        after=metrics(result, "after"),
        steps=result["steps"],
        precision=result["precision"],
        command=command(run_dir),
        versions={name: found for name in PACKAGES if (found := versions.get(name))},
    )


def metrics(result: Mapping[str, Any], when: str) -> dict[str, float]:
    """Loss and perplexity on the held-out set, as far as they were measured."""
    found = {name: result.get(f"val/{name}_{when}") for name in ("loss", "perplexity")}
    if when == "after":
        found["token_accuracy"] = result.get("val/token_accuracy")
    return {name: float(value) for name, value in found.items() if value is not None}


def _best_loss(checkpoint: Mapping[str, Any], file_name: str) -> float | None:
    """The held-out loss that Lightning's ModelCheckpoint remembers, if it is this file's."""
    for name, state in checkpoint.get("callbacks", {}).items():
        if str(name).startswith("ModelCheckpoint") and Path(str(state.get("best_model_path", ""))).name == file_name:
            score = state.get("best_model_score")
            return None if score is None else float(score)
    return None


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def command(run_dir: Path) -> str | None:
    """The command line that Hydra recorded, without what belongs to the machine; folders of local files are cut off."""
    path = run_dir / ".hydra" / "overrides.yaml"
    if not path.is_file():
        return None
    typed = [str(override) for override in OmegaConf.load(path)]
    kept = [_without_folder(override) for override in typed if not override.lstrip("+~").startswith(_OF_THE_MACHINE)]
    return shlex.join(["python", "launch.py", *kept])


def _without_folder(override: str) -> str:
    key, equals, value = override.partition("=")
    local = value.startswith(("/", "~", "./", "../")) and "," not in value
    return f"{key}={Path(value).name}" if equals and local else override


def card_facts(run: DictConfig | None, spec: ModelSpec, tuning: str | None, measured: Measured) -> CardFacts:
    """The facts of a model card; without a run those of the model file alone."""
    hub_id = spec.path if spec.path and _HUB_ID.fullmatch(spec.path) and not Path(spec.path).exists() and not spec.shrunk else None
    if hub_id is None and run is not None:
        hub_id = None if run.model.path is None or not _HUB_ID.fullmatch(run.model.path) or run.model.shrunk else str(run.model.path)
    return CardFacts(
        name=spec.name if run is None else f"{run.model.name}-{tuning}",
        base_model=hub_id,
        base=None if run is None else str(run.model.name),
        licence=spec.licence,
        notice=spec.notice,
        seq2seq=spec.architecture == "seq2seq",
        tuning=tuning,
        sources=measured.sources,
        datasets=[] if run is None else hub_datasets(run, measured.sources),
        settings={} if run is None else _settings(run, tuning, measured),
        before=measured.before,
        after=measured.after,
        command=measured.command,
        versions=measured.versions,
    )


def hub_datasets(run: DictConfig, sources: Mapping[str, Any]) -> list[str]:
    """Hub ids of the sources that were read from the hub: those without local files whose path has the form owner/name."""
    paths = {str(name): str(node.get("path")) for name, node in run.data.items()}
    return sorted({path for name, path in paths.items() if _HUB_ID.fullmatch(path) and not sources.get(name, {"files": [0]})["files"]})


def _settings(run: DictConfig, tuning: str | None, measured: Measured) -> dict[str, Any]:
    tuned = build.plain(run.strategy.tuning)
    adapters = {name: tuned[name] for name in ("r", "alpha", "dropout") if name in tuned} | {
        "targets": tuned.get("targets") or build.plain(run.model.lora_targets)
    }
    found = {
        "tuning": tuning,
        **({} if tuning == "full" else adapters),
        "optimizer": run.optimizer.name,
        "learning rate": run.optimizer.lr,
        "weight decay": run.optimizer.weight_decay,
        "optimizer steps": measured.steps,
        "records per step": run.batch.global_size,
        "tokens per record, at most": run.model.max_length,
        "loss on": run.loss_on,
        "template": run.model.template.name,
        "gradient clipping": run.trainer.gradient_clip,
        "precision": measured.precision or run.trainer.precision,
        "parallel": build.parallel_name(run),
        "seed": run.seed,
    }
    return {name: ", ".join(value) if isinstance(value, list) else value for name, value in found.items() if value is not None}
