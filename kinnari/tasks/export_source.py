"""What `checkpoint=` of task=export names, and how the model behind it is put together."""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from omegaconf import DictConfig, OmegaConf
from peft import PeftModel
from transformers import AutoConfig, PreTrainedModel

from kinnari.errors import ConfigError
from kinnari.export.checked import TrainedModel
from kinnari.export.trained import rebuild_from_state
from kinnari.models.load import load_model, load_tokenizer, stored_dtype
from kinnari.models.source import model_source, register_family_of
from kinnari.models.spec import ModelSpec
from kinnari.rollouts.critic import is_critics
from kinnari.strategies.checkpoint_io import is_intact, latest_intact
from kinnari.strategies.tuning import Tuning, apply_tuning, quantization_config
from kinnari.tasks import build
from kinnari.tasks.compose import compose, conf_folder
from kinnari.tasks.export_facts import Measured, card_facts, measured_of
from kinnari.tasks.export_rules import KINDS

log = logging.getLogger(__name__)

Kind = Literal["checkpoint", "adapter", "folder"]
Loader = Callable[[], PreTrainedModel | PeftModel]


@dataclass(frozen=True)
class Found:
    """What a path is.

    Attributes:
        kind: a training checkpoint, a PEFT adapter or a plain Hugging Face folder.
        path: the .ckpt file or the folder.
        run: the settings of the run that left it; None where none lie above it.
        run_dir: that run's output folder.
    """

    kind: Kind
    path: Path
    run: DictConfig | None = None
    run_dir: Path | None = None


def find(given: Path) -> Found:
    """Tell what `given` is by what lies there.

    Raises:
        ConfigError: nothing that can be exported, or a torn checkpoint.
    """
    given = given.expanduser()
    if not given.exists():
        raise ConfigError(f"checkpoint={given} does not exist. Give {KINDS}.")
    if given.is_file():
        if not is_intact(given):
            raise ConfigError(f"checkpoint={given} is torn (incomplete or damaged), or no checkpoint; give the one before it, or {KINDS}.")
        return _checkpoint(given)
    if (given / "adapter_config.json").is_file():
        return Found("adapter", given, *_run_above(given))
    if (given / "config.json").is_file():
        return Found("folder", given, *_run_above(given))
    folders = (given / "checkpoints" / "best", given / "checkpoints", given)
    file = next((found for folder in folders if (found := latest_intact(folder))), None)
    if file is None:
        raise ConfigError(f"checkpoint={given} holds no intact checkpoint, no adapter and no model. Give {KINDS}.")
    return _checkpoint(file)


def _checkpoint(file: Path) -> Found:
    run, run_dir = _run_above(file)
    if run is None:
        raise ConfigError(
            f"No config.yaml of a run above {file}: a checkpoint holds weights alone, the model's settings lie in its run's folder."
        )
    if run.task.name == "reward":
        raise ConfigError(
            f"{file} is a checkpoint of task=reward, whose head no plain model folder can hold. What others load is the folder "
            f"{run_dir}/reward."
        )
    return Found("checkpoint", file, run, run_dir)


def _run_above(path: Path) -> tuple[DictConfig | None, Path | None]:
    """Settings and folder of the run that left `path`, one to three folders up."""
    for folder in path.absolute().parents[:3]:
        if (folder / "config.yaml").is_file():
            cfg = OmegaConf.load(folder / "config.yaml")
            if isinstance(cfg, DictConfig) and "strategy" in cfg and "model" in cfg:
                return cfg, folder
    return None, None


def trained_model(cfg: DictConfig, found: Found) -> TrainedModel:
    """How to load what was found, and what is known of it.

    Raises:
        ConfigError: the base or the tokenizer cannot be had, or the files do not fit it.
    """
    chosen = found.run or (cfg if _model_was_chosen(cfg) else None)
    if found.kind == "checkpoint":
        assert found.run is not None
        state = _tensors(found.path)
        return from_state(found.run, state["state_dict"], measured_of(found.run_dir, state, found.path.name))
    if found.kind == "folder":
        spec = replace(_spec(chosen, str(found.path)), path=str(found.path), package=None, toy=None, shrunk=False, add_tokens=[])
        return _described(chosen, spec, partial(load_model, spec, dtype=stored_dtype(spec)), found, None)
    spec, known = (build.model_spec(found.run), found.run) if found.run is not None else base_of_adapter(cfg, found.path)
    named = build.tuning(known or cfg)
    tuning = replace(named, name="lora" if named.name == "full" else named.name, adapter=str(found.path), gradient_checkpointing=False)
    settings = known or cfg
    load = partial(_with_adapter, spec, tuning, _base_dtype(spec, tuning, settings), settings.seed)
    return _described(known, spec, load, found, tuning.name)


def _tensors(file: Path) -> dict[str, Any]:
    try:
        return torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise ConfigError(
            f"checkpoint={file} holds more than tensors and plain values, which could run code when it is read; it is refused. Give a "
            "checkpoint that Kinnari wrote, or a Hugging Face folder."
        ) from error


def from_state(run: DictConfig, state: Any, measured: Measured, conversations: Any = ()) -> TrainedModel:
    """The model of a run out of the `state_dict` of a checkpoint, put on the base as its checkpoint stores it.

    That base is what plain `peft` loads under the adapter, so adapter and merged folder are the same model to the last bit of the
    sum; training may have held the base in fewer bits. A 4- or 8-bit base stays what it was in training, dequantised.
    """
    spec, tuning = build.model_spec(run), build.tuning(run)
    prefix = "model."
    trained = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix) and not is_critics(name)}
    tokenizer = build.tokenizer(run)
    load = partial(
        rebuild_from_state,
        spec,
        tuning,
        trained,
        base_dtype=_base_dtype(spec, tuning, run, measured.precision),
        compute_dtype=torch.float32,  # so that the merge is compared with nothing rounded on the way
        seed=run.seed,
        partly_frozen=OmegaConf.select(run, "ppo.num_layers_unfrozen") is not None,
    )
    return TrainedModel(
        load=load,
        tokenizer=tokenizer,
        template=build.template(run, tokenizer),
        stored=stored_dtype(spec, seed=run.seed),
        facts=card_facts(run, spec, tuning.name, measured),
        conversations=conversations,
    )


def _base_dtype(spec: ModelSpec, tuning: Tuning, cfg: DictConfig, precision: str | None = None) -> torch.dtype:
    """A few-bit base depends on the dtype it was made from, which is that of the run; others are taken as they are stored."""
    if tuning.name not in ("qlora", "lora_int8"):
        return stored_dtype(spec, seed=cfg.seed)
    if precision is not None:
        cfg = OmegaConf.merge(cfg, {"trainer": {"precision": precision}})  # type: ignore[assignment]
    return build.parts(cfg).weights


def _with_adapter(spec: ModelSpec, tuning: Tuning, dtype: torch.dtype, seed: int) -> PreTrainedModel | PeftModel:
    base = load_model(spec, dtype=dtype, quantization=quantization_config(tuning, torch.float32, sharded=False), seed=seed)
    return apply_tuning(base, tuning, spec).eval()


def _described(cfg: DictConfig | None, spec: ModelSpec, load: Loader, found: Found, tuning: str | None) -> TrainedModel:
    tokenizer = load_tokenizer(replace(spec, path=str(found.path)) if found.kind == "folder" else spec)
    run = found.run
    measured = measured_of(found.run_dir, None, None)
    return TrainedModel(
        load=load,
        tokenizer=tokenizer,
        template=None if cfg is None else build.template(cfg, tokenizer),
        stored=stored_dtype(spec),
        facts=card_facts(run, spec, build.tuning(run).name if run is not None else tuning, measured),
    )


# --- which base ------------------------------------------------------------------------------------------------------------


def _model_was_chosen(cfg: DictConfig) -> bool:
    """Whether the command line named a model, rather than leaving the default one, which says nothing of a folder from elsewhere."""
    defaults: Any = OmegaConf.load(conf_folder() / "config.yaml")
    default = next(entry["model"] for entry in defaults.defaults if not isinstance(entry, str) and "model" in entry)
    return cfg.model.name != default or cfg.model.path is not None


def base_of_adapter(cfg: DictConfig, folder: Path) -> tuple[ModelSpec, DictConfig | None]:
    """The base of an adapter from elsewhere, and the settings that describe it: `model=`, or the model file that names the same hub id.

    Raises:
        ConfigError: the adapter names no base and none is chosen.
    """
    if _model_was_chosen(cfg):
        return build.model_spec(cfg), cfg
    name = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8")).get("base_model_name_or_path")
    if not name:
        raise ConfigError(f"{folder}/adapter_config.json names no base model. Choose it: task=export checkpoint={folder} model=NAME.")
    for file in sorted((conf_folder() / "model").glob("*.yaml")):
        content: Any = OmegaConf.load(file)
        if content.get("path") == name:
            log.info("the adapter's base %s is model=%s", name, file.stem)
            known = compose([f"model={file.stem}"])
            return build.model_spec(known), known
    return _spec(None, str(name)), None


def _spec(cfg: DictConfig | None, path: str) -> ModelSpec:
    """The model file's record, or, without one, what config.json tells."""
    if cfg is not None:
        return build.model_spec(cfg)
    spec = ModelSpec(
        name=Path(path).name,
        architecture="causal",
        path=path,
        package=None,
        toy=None,
        lora_targets=[],
        block_classes=[],
        max_length=512,
        dtype="auto",
        attention="auto",
        packing="none",
        pad_token=None,
        licence="unstated",
        notice=None,
    )
    source = model_source(spec, weights=False)
    register_family_of(source)
    seq2seq = AutoConfig.from_pretrained(source, local_files_only=True).is_encoder_decoder
    return replace(spec, architecture="seq2seq" if seq2seq else "causal")
