"""task=export: files for others out of a trained model, and the folders at the end of a training run."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from torch import Tensor
from transformers import AutoConfig

from kinnari.errors import ConfigError
from kinnari.export.base_folder import base_folder
from kinnari.export.card import Kind
from kinnari.export.checked import Exported, ExportSettings, TrainedModel, export_model
from kinnari.export.delta import publish_delta
from kinnari.export.folder import file_list
from kinnari.export.gguf_architectures import find_architecture
from kinnari.export.gguf_checked import export_gguf
from kinnari.export.original_llama import original_config, write_original
from kinnari.export.verify import LogitGap
from kinnari.models.source import model_source, register_family_of
from kinnari.strategies.precision import DTYPES
from kinnari.tasks import build
from kinnari.tasks.export_facts import measured_now
from kinnari.tasks.export_source import Found, base_of_adapter, find, from_state, trained_model
from kinnari.tasks.result import versions
from kinnari.text.conversation import Conversation

log = logging.getLogger(__name__)

CARD_KINDS: Mapping[str, Kind] = {"hf": "merged", "gguf": "merged", "delta": "delta", "original_llama": "merged"}


def export(cfg: DictConfig) -> dict[str, Any]:
    """Write what `export.format` asks for into output_dir, out of what `checkpoint` names.

    Raises:
        ConfigError: nothing exportable there, its base cannot be had, or the format cannot hold this architecture.
        ExportRejected: what was written does not compute what was trained; it is removed.
    """
    found = find(Path(cfg.checkpoint))
    log.info("exporting %s (%s)", found.path, {"checkpoint": "training checkpoint", "adapter": "PEFT adapter"}.get(found.kind, "model"))
    trained = trained_model(cfg, found)
    out = Path(cfg.output_dir)
    wanted = cfg.export.format
    if wanted in ("hf", "adapter"):
        made = export_model(
            trained,
            settings(cfg),
            adapter=out / "adapter" if found.kind == "checkpoint" or wanted == "adapter" else None,
            merged=out / "merged" if wanted == "hf" else None,
        )
        if made.adapter is None and wanted == "adapter":
            raise ConfigError(f"export.format=adapter, but {found.path} is a whole model without an adapter. Use export.format=hf.")
        return {"checkpoint": str(found.path), **folders(made, out)}
    return {"checkpoint": str(found.path), **_converted(cfg, found, trained, out)}


def settings(cfg: DictConfig) -> ExportSettings:
    """The `export:` section as plain values."""
    return ExportSettings(
        dtype=None if cfg.export.dtype == "auto" else DTYPES[cfg.export.dtype],
        shard_size=cfg.export.shard_size,
        max_logit_gap=cfg.export.max_logit_gap,
        min_greedy_agreement=cfg.export.min_greedy_agreement,
    )


def folders(made: Exported, out: Path, more: Sequence[Path] = ()) -> dict[str, Any]:
    """What result.json says of written folders."""
    written = [folder for folder in (made.adapter, made.merged, *more) if folder is not None]
    return {
        "adapter_dir": None if made.adapter is None else str(made.adapter),
        "merged_dir": None if made.merged is None else str(made.merged),
        **gap_values(made.gap),
        "files": file_list(out.resolve(), written),
    }


def gap_values(gap: LogitGap | None) -> dict[str, Any]:
    """The names that result.json has for a gap; null where nothing was merged."""
    values: dict[str, Any] = dict.fromkeys(("logit_gap_max", "greedy_agreement", "logit_spread", "positions", "computed_in"))
    return values if gap is None else asdict(gap)


def _converted(cfg: DictConfig, found: Found, trained: TrainedModel, out: Path) -> dict[str, Any]:
    """A GGUF file, a delta or the original layout, out of a plain folder: the one given, or one that is merged first."""
    wanted = cfg.export.format
    plain, made = found.path, Exported()
    if found.kind != "folder" or cfg.export.dtype != "auto":
        _check_architecture(wanted, found.path if found.kind == "folder" else _own_base(cfg, found))
        made = export_model(trained, settings(cfg), adapter=None, merged=out / "merged", merged_card=CARD_KINDS[wanted])
        assert made.merged is not None
        plain = made.merged
    try:
        result = {"gguf": _gguf, "delta": _delta, "original_llama": _original}[wanted](cfg, found, trained, plain, out)
    finally:
        if made.merged is not None and not cfg.export.keep_merged:
            shutil.rmtree(made.merged)
    kept = [made.merged] if made.merged is not None and cfg.export.keep_merged else []
    gaps = gap_values(made.gap) | result.pop("gaps", {})
    values = {**gaps, "merge": gap_values(made.gap) if made.gap else None, "merged_dir": str(kept[0]) if kept else None}
    return {**values, **result, "files": file_list(out.resolve(), [*kept, Path(result["export_dir"])])}


def _check_architecture(wanted: str, folder: Path) -> None:
    """Raises ConfigError before the minutes that a merge takes where `wanted` has no words for the model in `folder`."""
    register_family_of(str(folder))
    if wanted == "gguf":
        find_architecture(AutoConfig.from_pretrained(folder))
    elif wanted == "original_llama":
        original_config(folder)


def _gguf(cfg: DictConfig, found: Found, trained: TrainedModel, plain: Path, out: Path) -> dict[str, Any]:
    limits = {"max_logit_gap": cfg.export.max_logit_gap, "min_greedy_agreement": cfg.export.min_greedy_agreement}
    folder, report, gap = export_gguf(trained, plain, out / "gguf", cfg.export.gguf, **limits)
    return {"export_dir": str(folder), "gguf": asdict(report), "gaps": gap_values(gap)}


def _delta(cfg: DictConfig, found: Found, trained: TrainedModel, plain: Path, out: Path) -> dict[str, Any]:
    base = base_folder(cfg.export.base) if cfg.export.base is not None else _own_base(cfg, found)
    report = publish_delta(plain, base, out / "delta", cfg.export.shard_size)
    return {"export_dir": str(report.folder), "delta": {k: v for k, v in asdict(report).items() if k != "folder"}}


def _own_base(cfg: DictConfig, found: Found) -> Path:
    if found.kind == "folder" and found.run is None:
        raise ConfigError(f"A delta is the difference from a base, and {found.path} does not name one. Add export.base=DIR_OR_HUB_ID.")
    if found.kind == "adapter" and found.run is None:
        return base_folder(model_source(base_of_adapter(cfg, found.path)[0]))
    assert found.run is not None
    return base_folder(model_source(build.model_spec(found.run), seed=found.run.seed))


def _original(cfg: DictConfig, found: Found, trained: TrainedModel, plain: Path, out: Path) -> dict[str, Any]:
    report = write_original(plain, out / "original_llama")
    return {"export_dir": str(report.folder), "original_llama": {"params": report.params, "tokenizer": report.tokenizer}}


def write_folders(
    cfg: DictConfig, state: Mapping[str, Tensor], result: Mapping[str, Any], conversations: Sequence[Conversation]
) -> dict[str, Any]:
    """The folders at the end of a training run, from its trained tensors: `adapter`, and `merged` where `task.export_merged` says so.

    After full tuning `merged` is written in any case.

    Args:
        state: `state_dict` as in a checkpoint.
        result: what the run measured, for the model card.
        conversations: held-out ones, on which the merge is compared beside the probe's own.

    Raises:
        ExportRejected: the merge does not compute what was trained; its `measured` holds `result` as well.
    """
    out = Path(cfg.output_dir)
    trained = from_state(cfg, state, measured_now(out, result, versions()), conversations)
    merged = cfg.task.export_merged or build.tuning(cfg).name == "full"
    made = export_model(trained, settings(cfg), adapter=out / "adapter", merged=out / "merged" if merged else None)
    return folders(made, out)
