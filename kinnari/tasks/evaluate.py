"""task=evaluate: a model on benchmarks; examples.jsonl, summary.json, a table, and in result.json NAME/accuracy and its kin."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from omegaconf import DictConfig, open_dict
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kinnari.evaluation.examinee import Examination, Examinee, examination
from kinnari.evaluation.likelihood import LikelihoodCache
from kinnari.evaluation.likelihood.encoders import positions_of
from kinnari.evaluation.outcome import Outcome
from kinnari.models.cache import store_file
from kinnari.models.fingerprint import model_fingerprint
from kinnari.models.load import read_config
from kinnari.models.source import model_source
from kinnari.strategies.parallel import cluster_environment
from kinnari.strategies.precision import DTYPES
from kinnari.tasks import build
from kinnari.tasks.benchmarks import chosen
from kinnari.tasks.evaluate_files import flat, write
from kinnari.tasks.evaluate_table import print_outcomes
from kinnari.tasks.export_source import find, trained_model
from kinnari.text.progress import progress_line
from kinnari.text.template import Renderer


@dataclass(frozen=True, kw_only=True)
class Examined:
    """A model, and what is known of it before it is loaded.

    Attributes:
        max_length: tokens of the longest text; None where nothing sets a limit.
        load: makes it, on this rank's device.
    """

    tokenizer: PreTrainedTokenizerBase
    template: Renderer
    max_length: int | None
    load: Callable[[], PreTrainedModel | PeftModel]


def evaluate(cfg: DictConfig) -> dict[str, Any]:
    """Sit the benchmarks of `benchmark=` with the model of `checkpoint=`, or of `model=` and its `model.adapter`.

    Raises:
        ConfigError: files that are missing or not in the public layout, or a model that cannot be asked.
    """
    rank, node = _join_ranks(cfg), cfg.benchmark
    if cfg.hw.accelerator == "cpu" and cfg.model.dtype == "auto":
        with open_dict(cfg):
            cfg.model.dtype = "float32"  # a processor computes in it at least as fast, and scores can be checked to 1e-4
    examined = of_checkpoint(cfg) if isinstance(cfg.checkpoint, str) else of_model(cfg)
    exams = [examination(benchmark, examined.tokenizer, examined.max_length) for benchmark in chosen(node)]
    model = examined.load()
    examinee = Examinee(
        model=model,
        tokenizer=examined.tokenizer,
        template=examined.template if node.chat else None,
        token_budget=node.token_budget,
        max_length=examined.max_length,
        cache=_cache(cfg, model),
        calibration=node.calibration,
        seed=node.seed,
    )
    outcomes, seconds = sit(examinee, exams, show=rank == 0)
    if rank == 0:
        write(cfg, exams, outcomes, str(model.dtype).removeprefix("torch."))
        print_outcomes(outcomes)
    return flat(outcomes) | {"questions_per_second": sum(len(exam.questions) for exam in exams) / max(seconds, 1e-9)}


def of_model(cfg: DictConfig) -> Examined:
    """What `model=` names, with `model.adapter`; its files are looked through now."""
    tokenizer, spec = build.tokenizer(cfg), build.model_spec(cfg)
    config = read_config(spec, model_source(spec, seed=cfg.seed))
    return Examined(
        tokenizer=tokenizer,
        template=build.template(cfg, tokenizer),
        max_length=positions_of(config, tokenizer, cfg.benchmark.max_length),
        load=lambda: build.load_for_inference(cfg)[0],
    )


def of_checkpoint(cfg: DictConfig) -> Examined:
    """What `checkpoint=` names: a run's folder, its .ckpt file, an adapter or a model folder; it is put together now."""
    trained = trained_model(cfg, find(Path(cfg.checkpoint)))
    loaded: Any = trained.load()
    if cfg.model.dtype != "auto":
        in_dtype(loaded, DTYPES[cfg.model.dtype])
    model = loaded.to(build.local_device(cfg)).eval()
    return Examined(
        tokenizer=trained.tokenizer,
        template=trained.template or build.template(cfg, trained.tokenizer),
        max_length=positions_of(model.config, trained.tokenizer, cfg.benchmark.max_length),
        load=lambda: model,
    )


def in_dtype(model: torch.nn.Module, dtype: torch.dtype) -> None:
    """Floating-point weights in another dtype; few-bit ones stay, and so do buffers, which may need their own."""
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)


def sit(examinee: Examinee, exams: Sequence[Examination], *, show: bool) -> tuple[list[Outcome], float]:
    """Outcomes of all, and the seconds it took."""
    outcomes, began = [], time.monotonic()
    for exam in exams:
        with progress_line(exam.benchmark.name, len(exam.questions), show) as advance:
            outcomes.append(examinee.sit(exam, advance))
    return outcomes, time.monotonic() - began


def _cache(cfg: DictConfig, model: Any) -> LikelihoodCache | None:
    if not cfg.benchmark.cache:
        return None
    folder = cfg.benchmark.cache_dir
    file = store_file("likelihoods.sqlite") if folder is None else Path(folder).expanduser() / "likelihoods.sqlite"
    return LikelihoodCache(file, model_fingerprint(model))


def _join_ranks(cfg: DictConfig) -> int:
    """This process's rank; every rank holds the whole model and answers a part."""
    environment = cluster_environment()
    if environment.world_size() > 1 and not dist.is_initialized():
        if cfg.hw.accelerator != "cpu":
            torch.cuda.set_device(environment.local_rank())
        dist.init_process_group("gloo" if cfg.hw.accelerator == "cpu" else "nccl")
    return environment.global_rank()
