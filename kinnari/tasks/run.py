"""From a composed config to a finished task: check, freeze, run here or on ranks, return the metric."""

from __future__ import annotations

import copy
import gc
import logging
import math
import os
import signal
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf, open_dict

from kinnari.errors import ConfigError, RankFailed, RunStopped
from kinnari.tasks.devices import check_devices, check_packages
from kinnari.tasks.ranks import OUT_OF_MEMORY_EXIT, is_first_rank, run_ranks
from kinnari.tasks.rules import TRAINING_TASKS, check, parallel_name
from kinnari.tasks.small_models import is_small
from kinnari.tasks.toy import as_toy

log = logging.getLogger(__name__)

ERROR_CHARACTERS = 2000  # of an error in result.json: some carry the text of a whole model


def run(cfg: DictConfig) -> Any:
    """What `launch.py` does with a config; returns the metric that `task.metric` names, for sweepers.

    Raises:
        ConfigError: a setting or combination cannot work.
        RankFailed: a rank ended with an error.
        SystemExit: the trial of a sweep was interrupted: the trials after it must not start.
    """
    cfg = as_toy(cfg)
    if cfg.task.name != "plan":  # which checks the run that it plans
        check(cfg)
        check_devices(cfg, needs_ranks(cfg))
        check_packages(cfg)
    frozen = freeze(cfg)
    log.info("task=%s writes to %s (loading libraries)", frozen.task.name, frozen.output_dir)  # which takes up to ten seconds
    result = execute(frozen)
    if result["status"] == "interrupted" and in_sweep():
        log.warning("interrupted: no further trial starts; the same command with output_dir and checkpoint.resume=auto goes on")
        raise SystemExit(128 + signal.SIGTERM)
    return None if frozen.task.metric is None else metric(frozen.task.metric, result)


def execute(frozen: DictConfig) -> dict[str, Any]:
    """Run the task of a checked, frozen config, here or on ranks as it says; returns its result."""
    return _run_on_ranks(frozen) if needs_ranks(frozen) else run_task(frozen)


def metric(name: str, result: dict[str, Any]) -> float:
    """What a sweep compares; NaN where the task could not measure it (result.json says null).

    Raises:
        ConfigError: the task does not report such a number.
    """
    numbers = sorted(key for key, value in result.items() if value is None or isinstance(value, int | float))
    if name not in numbers:
        raise ConfigError(f"task.metric={name} is not reported by this task; choose one of {', '.join(numbers)}.")
    return math.nan if result[name] is None else float(result[name])


def in_sweep() -> bool:
    """Whether this process runs the trials of a sweep, one after the other."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def freeze(cfg: DictConfig) -> DictConfig:
    """A copy without interpolations whose `output_dir` is the folder of this very job, written to `config.yaml` there."""
    source = copy.deepcopy(cfg)
    if in_sweep():
        # `output_dir` names the sweep; each of its jobs has a folder of its own.
        source.output_dir = HydraConfig.get().runtime.output_dir
    source.output_dir = str(Path(source.output_dir).absolute())
    frozen = OmegaConf.create(OmegaConf.to_container(source, resolve=True))
    assert isinstance(frozen, DictConfig)
    save_config(frozen)
    return frozen


def save_config(cfg: DictConfig) -> Path:
    """Write the resolved config; `python -m kinnari.tasks.rank` and `task=export` read it."""
    path = Path(cfg.output_dir) / "config.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}")  # another node may be reading what this one writes again
    OmegaConf.save(cfg, temporary)
    os.replace(temporary, path)
    return path


def needs_ranks(cfg: DictConfig) -> bool:
    """Whether the task trains with processes of its own (any parallel strategy, even on one device)."""
    return bool(cfg.task.distributed) and parallel_name(cfg) != "single"


def run_task(cfg: DictConfig) -> dict[str, Any]:
    """Run the task of a frozen config in this process, and write result.json (on rank 0 where there are ranks)."""
    with _imports():
        from kinnari.strategies.throughput import forget_peak_memory
        from kinnari.tasks.logs import quiet_libraries
        from kinnari.tasks.result import write_result

    quiet_libraries()
    if not _nothing_ran_before():
        forget_peak_memory()
    began = time.monotonic()
    first = is_first_rank()
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        if not needs_ranks(cfg):
            _check_memory(cfg)
        with _imports(), _without_compiler(cfg.task.name == "plan" and HydraConfig.initialized() and not in_sweep()):
            task = get_method(cfg.task._target_)
        _keep_imports()
        result = task(cfg)
    except BaseException as problem:
        if first:
            measured = problem.measured if isinstance(problem, RunStopped) else {}
            told = {**measured, "status": "failed", "error": f"{type(problem).__name__}: {problem}"[:ERROR_CHARACTERS]}
            write_result(cfg, "failed", time.monotonic() - began, told)
        raise
    finally:
        # Training waits with SIGTERM until its step has ended; that must not go on after it, least of all in the next trial.
        if signal.getsignal(signal.SIGTERM) is not on_sigterm:
            signal.signal(signal.SIGTERM, on_sigterm)
    result = {"status": "done"} | result
    if first:
        path = write_result(cfg, result["status"], time.monotonic() - began, result)
        log.info("result: %s", path)
    return result


@contextmanager
def _imports() -> Iterator[None]:
    """Without looking for garbage: imports make a million objects, and they stay."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def _without_compiler(plans_alone: bool) -> Iterator[None]:
    """For a process that plans and then ends: bitsandbytes (0.50) asks for torch's compiler as it is imported, a sixth of a plan's time."""
    name, before = "TORCHDYNAMO_DISABLE", os.environ.get("TORCHDYNAMO_DISABLE")
    if plans_alone and before is None:
        os.environ[name] = "1"
    try:
        yield
    finally:
        if plans_alone and before is None:
            del os.environ[name]


def _keep_imports() -> None:
    """Later, too, nothing looks for garbage among them; together this took a plan a sixth of its time.

    Only before the first task of launch.py: garbage of an earlier trial, or of a notebook, would be kept as well.
    """
    if _nothing_ran_before():
        gc.freeze()


def _nothing_ran_before() -> bool:
    """Whether this is the first task of launch.py, and its imports are not frozen yet."""
    return HydraConfig.initialized() and gc.get_freeze_count() == 0


def _run_on_ranks(cfg: DictConfig) -> dict[str, Any]:
    from kinnari.tasks.result import read_result, result_file, write_result

    began = time.monotonic()
    result_file(cfg).unlink(missing_ok=True)  # of an earlier start in this folder
    try:
        _check_memory(cfg)
    except ConfigError as problem:
        write_result(cfg, "failed", time.monotonic() - began, {"error": f"ConfigError: {problem}"})
        raise
    while True:
        code = run_ranks(save_config(cfg), cfg.hw.devices, cfg.hw.num_nodes, cfg.hw.accelerator == "cpu")
        if code != OUT_OF_MEMORY_EXIT:
            break
        try:
            _halve_micro_batches(cfg)
        except ConfigError as problem:
            write_result(cfg, "failed", time.monotonic() - began, {"error": f"ConfigError: {problem}"})
            raise
    if code:
        if not result_file(cfg).exists():  # rank 0 was killed, or waited for one that was
            write_result(cfg, "failed", time.monotonic() - began, {"error": f"a rank ended with status {code}"})
        raise RankFailed(code)
    return read_result(cfg)


def _check_memory(cfg: DictConfig) -> None:
    """Refuse what cannot fit, once for all ranks."""
    if cfg.task.name in TRAINING_TASKS and not is_small(cfg, cfg.hw.memory_gib):
        from kinnari.tasks.memory_check import check_memory  # takes what training takes to import

        check_memory(cfg)


def _halve_micro_batches(cfg: DictConfig) -> None:
    """Half the rows per forward, from the last checkpoint on: the loss does not depend on the split (contract 1)."""
    if cfg.batch.micro_size == 1:
        raise ConfigError(
            f"Out of memory with batch.micro_size=1 under {parallel_name(cfg)}. Lower model.max_length, set "
            "strategy.tuning.gradient_checkpointing=true, use strategy=qlora, more devices or offloading."
        )
    micro = cfg.batch.micro_size // 2
    while cfg.batch.global_size % (micro * cfg.hw.devices * cfg.hw.num_nodes):
        micro -= 1
    log.warning("out of memory: starting again from the last checkpoint with batch.micro_size=%d", micro)
    with open_dict(cfg):
        cfg.batch.micro_size, cfg.checkpoint.resume = micro, "auto"
