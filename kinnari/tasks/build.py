"""Config -> objects. Beneath this file nothing knows Hydra: every class takes plain arguments."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kinnari.errors import ConfigError
from kinnari.generation.settings import GenerationSettings
from kinnari.models.half_precision import guard_float16
from kinnari.models.load import load_model, load_tokenizer, read_config
from kinnari.models.placement import Placement, free_memory
from kinnari.models.positions import check_max_length
from kinnari.models.source import model_source, published_config
from kinnari.models.spec import ModelSpec
from kinnari.preparation.pipeline import PreparedSource
from kinnari.preparation.store import default_root
from kinnari.strategies.precision import COMPUTE_DTYPES, resolve_precision, weight_dtype
from kinnari.strategies.tuning import Tuning, apply_tuning, quantization_config
from kinnari.tasks.model_rules import ranks_per_node
from kinnari.tasks.rules import parallel_name, world_size
from kinnari.text.chat_template import ChatTemplate
from kinnari.text.template import Renderer, Template
from kinnari.text.truncation import Limits

if TYPE_CHECKING:  # Lightning takes seconds to import, and tasks that do not train do without
    import pytorch_lightning as pl

    from kinnari.strategies.fine_tuning import FineTuningSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The plain values that several builders need, derived once."""

    spec: ModelSpec
    tuning: Tuning
    parallel: str
    precision: str
    weights: torch.dtype
    packing: str
    world_size: int

    @property
    def compute(self) -> torch.dtype:
        """What matrix products are computed in."""
        return COMPUTE_DTYPES[self.precision]

    @property
    def sharded(self) -> bool:
        """Whether each rank holds only a part of the weights."""
        return self.parallel in ("fsdp", "deepspeed_zero3")


def parts(cfg: DictConfig) -> Parts:
    """Everything that follows from the config without loading anything.

    Raises:
        ConfigError: among others, rows longer than the positions that the model file states.
    """
    spec, tuned = model_spec(cfg), tuning(cfg)
    shapes = published_config(spec)
    if shapes is not None:
        check_max_length(shapes, cfg.model.max_length)
    precision = resolve_precision(cfg.trainer.precision)
    return Parts(
        spec=spec,
        tuning=tuned,
        parallel=parallel_name(cfg),
        precision=precision,
        weights=weight_dtype(spec.dtype, tuned.name, precision),
        packing=resolve_packing(cfg),
        world_size=world_size(cfg),
    )


def resolve_packing(cfg: DictConfig) -> str:
    """`packing=auto` packs where that is exact for the model, and groups by length where it is not."""
    if cfg.packing != "auto":
        return cfg.packing
    return "length_grouped" if cfg.model.packing == "none" else "packed"


def plain(node: Any) -> Any:
    """An OmegaConf node as dicts and lists."""
    return OmegaConf.to_container(node, resolve=True)


def model_spec(cfg: DictConfig) -> ModelSpec:
    """The chosen model file, without the settings that belong to others (template, adapter, loss)."""
    values = plain(cfg.model)
    return ModelSpec(**{field.name: values[field.name] for field in dataclasses.fields(ModelSpec) if field.name in values})


def tuning(cfg: DictConfig) -> Tuning:
    """How much of the model is trained."""
    return Tuning(**plain(cfg.strategy.tuning), adapter=cfg.model.adapter)


def template(cfg: DictConfig, tokenizer: PreTrainedTokenizerBase) -> Renderer:
    """The renderer of the chosen model, or the one `model/template=` names; `own` is the tokenizer's chat template."""
    values = plain(cfg.model.template)
    try:
        return ChatTemplate(tokenizer, **values) if values.get("name") == "own" else Template(**values)
    except TypeError as error:  # a field too many or too few: Python's own words name it
        needed = ", ".join(field.name for field in dataclasses.fields(Template))
        raise ConfigError(f"model/template={values.get('name')} is no template ({error}). Its file may hold {needed}.") from error


def tokenizer(cfg: DictConfig) -> PreTrainedTokenizerBase:
    """The tokenizer that belongs to the model; the first thing a task loads, so the terms of the weights are shown here."""
    spec = model_spec(cfg)
    if spec.notice:
        log.warning("%s", spec.notice)
    return load_tokenizer(spec)


def find_weights(cfg: DictConfig) -> None:
    """Download, convert and look through the weights' files before anything slow, so that what is wrong with them is told at once."""
    spec = model_spec(cfg)
    check_max_length(read_config(spec, model_source(spec, seed=cfg.seed)), cfg.model.max_length)


def sources(cfg: DictConfig) -> dict[str, Any]:
    """The sources of `data=` by the names they have there, which are theirs unless they say otherwise: so one class may stand twice."""
    found: dict[str, Any] = {}
    for name, node in cfg.data.items():
        found[name] = source = instantiate(node, _convert_="all", **({} if "name" in node else {"name": name}))
        if not isinstance(source, PreparedSource):
            raise ConfigError(
                f"data.{name}._target_={node._target_} makes no source, but a {type(source).__name__}. Name a class of "
                "datamodules.sources, or one that derives from Source: data.NAME._target_=datamodules.sources.GenericFile."
            )
    return found


def datamodule(cfg: DictConfig, tokenizer: PreTrainedTokenizerBase, rank: int = 0, world_size: int = 1, **options: Any) -> Any:
    """The task's datamodule over all sources of `data=`; of a type that only the surface knows. `options` are those of its own."""
    return get_class(cfg.task.datamodule)(
        sources=sources(cfg),
        tokenizer=tokenizer,
        template=template(cfg, tokenizer),
        global_size=cfg.batch.global_size,
        micro_size=cfg.batch.micro_size,
        packing=resolve_packing(cfg),
        limits=Limits(cfg.model.max_length, **plain(cfg.limits)),
        loss_on=cfg.loss_on,
        seq2seq=cfg.model.architecture == "seq2seq",
        cleaning=instantiate(cfg.cleaning.steps, _convert_="all"),
        held_out_fraction=cfg.held_out.fraction,
        held_out_most=cfg.held_out.most,
        held_out_near_duplicates=near_duplicates(cfg, auto=None),
        temperature=cfg.mixing.temperature,
        seed=cfg.seed,
        world_size=world_size,
        rank=rank,
        num_workers=cfg.batch.num_workers,
        workers=cfg.preparation.workers,
        cache_dir=prepared_folder(cfg),
        folder=Path(cfg.output_dir) / "data",
        **options,
    )


def preference_datamodule(cfg: DictConfig, tokenizer: PreTrainedTokenizerBase, rank: int = 0, world_size: int = 1, **options: Any) -> Any:
    """The datamodule of pairs over all sources of `data=`; `options` for what a task adds."""
    if cfg.cleaning.steps:
        raise ConfigError(
            "cleaning= is for conversations; answers of a ranking are cleaned by the steps of their source. Use cleaning=none and "
            "data.NAME.steps."
        )
    return get_class(cfg.task.pairs_datamodule)(
        sources=sources(cfg),
        tokenizer=tokenizer,
        template=template(cfg, tokenizer),
        construction=cfg.task.construction,
        most_pairs=cfg.task.pairs_per_prompt,
        max_length=cfg.model.max_length,
        held_out_fraction=cfg.held_out.fraction,
        held_out_most=cfg.held_out.most,
        near_duplicates=near_duplicates(cfg, auto=0.8),
        seq2seq=cfg.model.architecture == "seq2seq",
        global_size=cfg.batch.global_size,
        micro_size=cfg.batch.micro_size,
        seed=cfg.seed,
        world_size=world_size,
        rank=rank,
        num_workers=cfg.batch.num_workers,
        **options,
    )


def near_duplicates(cfg: DictConfig, auto: float | None) -> float | None:
    """From what likeness on questions are kept on one side; `auto` is what held_out.near_duplicates=auto means here."""
    return auto if cfg.held_out.near_duplicates == "auto" else cfg.held_out.near_duplicates


def prepared_folder(cfg: DictConfig) -> Path | None:
    """Where prepared data is kept between runs; None for nowhere."""
    if not cfg.preparation.cache:
        return None
    return default_root() if cfg.preparation.cache_dir is None else Path(cfg.preparation.cache_dir)


def tuned_model(cfg: DictConfig, parts: Parts, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel | PeftModel:
    """Weights loaded in an explicit dtype, with adapters where the tuning has them; in eval mode."""
    torch.manual_seed(cfg.seed)  # adapters are drawn at random
    quantization = quantization_config(parts.tuning, parts.compute, parts.sharded)
    model = load_model(
        parts.spec, dtype=parts.weights, quantization=quantization, device=local_device(cfg), placement=placement(cfg), seed=cfg.seed
    )
    return apply_tuning(model, parts.tuning, parts.spec)


def load_for_training(cfg: DictConfig) -> tuple[PreTrainedModel | PeftModel, PreTrainedTokenizerBase]:
    """The model as `strategy/tuning=` trains it, and its tokenizer: for a notebook with a `pl.Trainer` of its own."""
    tokens = tokenizer(cfg)
    return tuned_model(cfg, parts(cfg), tokens), tokens


def placement(cfg: DictConfig) -> Placement | None:
    """How one process spreads one model over its devices; None where each device has a process of its own."""
    device_map = plain(cfg.strategy.parallel).get("device_map")
    if device_map is None:
        return None
    limits = plain(cfg.strategy.parallel).get("max_memory")
    if limits is None:
        limits = free_memory(cfg.hw.devices) if isinstance(device_map, str) else {}
    return Placement(device_map=device_map, max_memory=limits)


def local_device(cfg: DictConfig) -> torch.device:
    """This rank's device, where weights are made."""
    from kinnari.strategies.parallel import cluster_environment

    return torch.device("cpu") if cfg.hw.accelerator == "cpu" else torch.device("cuda", cluster_environment().local_rank())


def load_for_inference(cfg: DictConfig) -> tuple[PreTrainedModel | PeftModel, PreTrainedTokenizerBase]:
    """The model with `model.adapter` if one is named, ready to answer on one device."""
    derived, tokens = parts(cfg), tokenizer(cfg)
    places = placement(cfg)
    quantization = quantization_config(derived.tuning, derived.compute, sharded=False, offloads=places is not None and places.offloads)
    dtype = weight_dtype(derived.spec.dtype, "lora", derived.precision)
    model: Any = load_model(derived.spec, dtype=dtype, quantization=quantization, device=local_device(cfg), placement=places, seed=cfg.seed)
    guard_float16(model)
    if cfg.model.adapter is not None:
        model = apply_tuning(model, derived.tuning, derived.spec, trains=False)
        assert isinstance(model, PeftModel)
    return model.eval(), tokens


def fine_tuning_settings(cfg: DictConfig, parts: Parts, total_steps: int) -> FineTuningSettings:
    """Optimizer, schedule and loss of a fine-tuning module."""
    from kinnari.strategies.fine_tuning import FineTuningSettings

    return FineTuningSettings(
        optimizer=instantiate(cfg.optimizer, _convert_="all"),
        scheduler=instantiate(cfg.scheduler, _convert_="all"),
        total_steps=total_steps,
        weight_decay=cfg.optimizer.weight_decay,
        gradient_clip=cfg.trainer.gradient_clip,
        chunked_loss=cfg.model.chunked_loss,
        block_classes=tuple(cfg.model.block_classes),
        precision=parts.precision,
        nan_patience=cfg.trainer.nan_patience,
        seed=cfg.seed,
    )


def lightning_module(cfg: DictConfig, parts: Parts, model: PreTrainedModel | PeftModel, settings: FineTuningSettings) -> pl.LightningModule:
    """The module that the task names for the model's architecture."""
    module_class = get_class(cfg.task.module[parts.spec.architecture])
    if parts.spec.architecture == "seq2seq":
        return module_class(model, settings)
    return module_class(model, settings, packing=parts.spec.packing, attention=model.config._attn_implementation)


def strategy(cfg: DictConfig, parts: Parts) -> pl.strategies.Strategy:
    """The parallel strategy of this rank."""
    from kinnari.strategies.parallel import build_strategy

    options = {k: v for k, v in plain(cfg.strategy.parallel).items() if k not in ("name", "device_map", "max_memory")}
    return build_strategy(
        parts.parallel,
        accelerator=cfg.hw.accelerator,
        devices=ranks_per_node(cfg),
        num_nodes=cfg.hw.num_nodes,
        precision=parts.precision,
        gradient_clip=cfg.trainer.gradient_clip,
        **options,
    )


def generation_settings(cfg: DictConfig) -> GenerationSettings:
    """How answers are sampled."""
    return GenerationSettings(**plain(cfg.generation))


def callbacks(cfg: DictConfig) -> list[pl.Callback]:
    """The callbacks of `callbacks=`, in the order of the files."""
    return [instantiate(node, _convert_="all") for node in cfg.callbacks.values()]


def loggers(cfg: DictConfig) -> list[pl.loggers.Logger]:
    """The loggers of `logger=`."""
    return [instantiate(node, _convert_="all") for node in cfg.logger.values()]
