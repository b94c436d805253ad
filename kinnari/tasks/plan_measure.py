"""plan.measure=true: the planned run for a few real steps, its memory beside what was predicted."""

from __future__ import annotations

import dataclasses
import json
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf, open_dict

from kinnari.errors import ConfigError, RankFailed
from kinnari.planning.outlook import Outlook, live_gib
from kinnari.planning.request import Estimate
from kinnari.tasks import build
from kinnari.tasks.estimating import Estimator
from kinnari.tasks.plan_tokens import tokens_of
from kinnari.tasks.ranks import run_ranks
from kinnari.tasks.run import needs_ranks, save_config

log = logging.getLogger(__name__)


def measure(cfg: DictConfig, outlook: Outlook, folder: Path, steps: int) -> dict[str, Any]:
    """What result.json says of the measurement.

    measured_by           live tensors, which are counted on a CPU; the allocator of a GPU; or, on a CPU under sharding, the process
    measured_peak_gib     of one device
    predicted_gib         for the rows of these steps: of live tensors, which leave out the CUDA context and the allocator's slack
    relative_error        (predicted - measured) / measured
    measured_gib          component -> GiB
    measured_process_gib  resident memory above that of the process without the model, on a GPU what the allocator reserved

    Args:
        cfg: of the planned run.
        folder: of the run.
        steps: optimizer steps, iterations of task=ppo.

    Raises:
        ConfigError: the run had no step.
        RankFailed: a rank ended with an error.
    """
    for left in folder.glob("rank_*.json"):
        left.unlink()
    frozen = measured_config(cfg, folder, steps)
    log.info("plan.measure: %d real step(s), in %s", steps, folder)
    _run(frozen)
    found = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("rank_*.json"))]
    if not found:
        raise ConfigError(f"plan.measure_steps={steps}: the run in {folder} ended before its first step. Take more data, or fewer steps.")
    highest = max(found, key=lambda rank: rank["peak_gib"])
    live = live_gib(_of_these_steps(frozen, outlook, steps))
    return {
        "measured_peak_gib": highest["peak_gib"],
        "predicted_gib": live,
        "measured_by": highest["by"],
        "relative_error": live / highest["peak_gib"] - 1,
        "measured_gib": highest["components"],
        "measured_process_gib": highest.get("reserved_gib", highest.get("resident_gib")),
    }


def _run(frozen: DictConfig) -> None:
    """The run until its callback ends it."""
    file = save_config(frozen)
    if not needs_ranks(frozen):
        from kinnari.tasks.measured_memory import Measured  # takes Lightning to import

        with suppress(Measured):
            get_method(frozen.task._target_)(frozen)
    elif code := run_ranks(file, frozen.hw.devices, 1, frozen.hw.accelerator == "cpu"):
        raise RankFailed(code)


def _of_these_steps(cfg: DictConfig, outlook: Outlook, steps: int) -> Estimate:
    """The estimate with the rows that were computed: their data is prepared by now, and few steps hold no row of the longest."""
    parts, task = build.parts(cfg), outlook.request.task
    tokens = dataclasses.replace(tokens_of(cfg, parts, task), steps=steps)
    return Estimator(tokens)(outlook.request)


def measured_config(cfg: DictConfig, folder: Path, steps: int) -> DictConfig:
    """The planned run without what costs time and changes no memory of its steps: validation, samples, logs, exports."""
    frozen = cfg.copy()
    assert isinstance(frozen, DictConfig)
    with open_dict(frozen):
        frozen.output_dir = str(folder)
        frozen.trainer.max_steps, frozen.plan.enforce = steps, False
        frozen.ppo.iterations, frozen.ppo.held_out_prompts = steps, 0
        frozen.held_out.fraction, frozen.held_out.most = None, 0
        frozen.preflight.records, frozen.checkpoint.resume = 0, None
        if "samples" in frozen.task:
            frozen.task.samples = 0
        frozen.logger = {}
        target = "kinnari.tasks.measured_memory.MeasuredMemory"
        frozen.callbacks = {"measured": {"_target_": target, "folder": str(folder), "steps": steps}}
    return OmegaConf.create(OmegaConf.to_container(frozen, resolve=True))  # type: ignore[return-value]


def need_this_machine(cfg: DictConfig) -> None:
    """Raises ConfigError where the run is planned for a machine that this is not, or for several."""
    here = torch.cuda.device_count()
    if cfg.hw.accelerator == "gpu" and here < cfg.hw.devices:
        raise ConfigError(
            f"plan.measure=true on hw={cfg.hw.name} needs {cfg.hw.devices} GPUs, and this machine has {here}. Measure where the run will "
            "be, or measure a smaller one here with hw=cpu."
        )
    if cfg.hw.num_nodes != 1:
        raise ConfigError(f"plan.measure=true measures one machine, and hw.num_nodes={cfg.hw.num_nodes}. Set hw.num_nodes=1.")
