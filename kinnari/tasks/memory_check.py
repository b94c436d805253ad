"""The check before every training run: what certainly cannot fit is refused before anything is loaded, what probably cannot is warned of.

    before the data is read    one short row a forward: weights, gradients and optimizer state must fit
    once its tokens are known  one row of the data's longest: a run that is out of memory halves its micro-batches by itself down to that

Small models are let through without an estimate: their launch is not to wait.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import psutil
import torch
from omegaconf import DictConfig

from kinnari.errors import ConfigError
from kinnari.planning.advice import Advice, advise, largest_micro_size
from kinnari.planning.outlook import live_gib
from kinnari.planning.request import Estimate, PlanRequest, RowTokens
from kinnari.strategies.throughput import GIB
from kinnari.tasks import build
from kinnari.tasks.estimating import Estimator
from kinnari.tasks.model_rules import is_placed
from kinnari.tasks.plan_request import plan_request
from kinnari.tasks.plan_tokens import DataTokens, of_plan
from kinnari.tasks.small_models import is_small
from kinnari.text.pair_batches import PairRecords

log = logging.getLogger(__name__)

PLANNED = {"sft": "sft", "reward": "reward", "ppo": "ppo", "dpo": "sft"}  # task -> what is planned for it; pairs of DPO need more still
CERTAIN = {"gpu": 0.9, "cpu": 0.75}  # share of the predicted live tensors that is sure: errors are within a tenth, of a process a quarter
SHORT_ROW = 16  # tokens


class DoesNotFit(ConfigError):
    """A run that would end out of memory."""


def check_memory(cfg: DictConfig, plan: Any = None, pairs: PairRecords | None = None) -> None:
    """Refuse a training run that cannot fit, unless `plan.enforce` is false.

    Args:
        cfg: of the run itself, resolved.
        plan: of its batches (`BatchPlan`), once its data has been read.
        pairs: of task=reward, likewise.

    Raises:
        DoesNotFit: with the memory it needs, what there is, and the cheapest change that would do.
    """
    task = PLANNED.get(cfg.task.name)
    if task is None or is_placed(build.plain(cfg)):
        return
    memory = device_memory_gib(cfg)
    if memory is None or is_small(cfg, memory):
        return
    try:
        parts = build.parts(cfg)
        tokens = None if plan is None else of_plan(plan, cfg, task, pairs)
        _check(cfg, parts, task, tokens, memory)
    except DoesNotFit:
        raise
    except Exception as problem:  # whatever the planner makes of a model it does not know, the run may work
        log.warning("the memory of this run could not be planned (%s: %s)", type(problem).__name__, str(problem).split("\n")[0])


def before_training(cfg: DictConfig, plan: Any, pairs: PairRecords | None = None) -> None:
    """What a training task does in its first process once its data is read: the check, and what callbacks=energy compares with.

    Raises:
        DoesNotFit: as `check_memory`.
    """
    check_memory(cfg, plan, pairs)
    if "energy" not in cfg.callbacks or cfg.task.name not in PLANNED:
        return
    task = PLANNED[cfg.task.name]
    try:
        parts = build.parts(cfg)
        rows = of_plan(plan, cfg, task, pairs).rows(cfg.batch.micro_size, parts.world_size)
        request = plan_request(cfg, parts, rows, task)
        seconds = Estimator(None)(request).seconds_per_step
    except Exception as problem:  # as above
        log.warning("the time of this run could not be planned (%s: %s)", type(problem).__name__, str(problem).split("\n")[0])
        return
    if seconds is None or request.hardware.watts is None:
        return
    planned = {"seconds_per_step": seconds, "watts": request.hardware.watts, "devices": request.hardware.world_size}
    (Path(cfg.output_dir) / "planned.json").write_text(json.dumps(planned) + "\n", encoding="utf-8")


def device_memory_gib(cfg: DictConfig) -> float | None:
    """Of one device: a GPU's own where there is one here, else the profile's; of a CPU's rank its share of memory and swap."""
    if cfg.hw.accelerator == "cpu":
        return (psutil.virtual_memory().total + psutil.swap_memory().total) / GIB / cfg.hw.devices
    if torch.cuda.is_available():
        return torch.cuda.get_device_properties(0).total_memory / GIB
    return None if cfg.hw.memory_gib is None else float(cfg.hw.memory_gib)


def certain_gib(estimate: Estimate, accelerator: str) -> float:
    """GiB that a device must have at least, in the most demanding phase."""
    return CERTAIN[accelerator] * live_gib(estimate)


def _check(cfg: DictConfig, parts: build.Parts, task: str, tokens: DataTokens | None, memory: float) -> None:
    estimate_of = Estimator(tokens)
    rows = _shortest(cfg, task) if tokens is None else tokens.rows(cfg.batch.micro_size, parts.world_size)
    request = plan_request(cfg, parts, rows, task)
    request = dataclasses.replace(request, hardware=dataclasses.replace(request.hardware, memory_gib=memory))
    least = estimate_of(dataclasses.replace(request, micro_size=1))
    if certain_gib(least, cfg.hw.accelerator) > memory:
        full = request if tokens else dataclasses.replace(request, rows=_longest(cfg, parts, task))
        refusal = _refusal(cfg, request, least, memory, _best(full, estimate_of, memory))
        if cfg.plan.enforce:
            raise DoesNotFit(refusal + " plan.enforce=false starts it all the same.")
        log.warning("%s It is started all the same: plan.enforce=false.", refusal)
    elif tokens is not None:
        _warn(cfg, request, estimate_of, memory)


def _shortest(cfg: DictConfig, task: str) -> RowTokens:
    """The least that a row can be; that of PPO is a prompt's."""
    width = min(_most_of_a_row(cfg, task), SHORT_ROW)
    return RowTokens(width=width, target_width=width if cfg.model.architecture == "seq2seq" else None)


def _most_of_a_row(cfg: DictConfig, task: str) -> int:
    """`model.max_length`; of PPO's prompts what an answer leaves of it."""
    most = cfg.ppo.response_length if task == "ppo" and cfg.model.architecture == "causal" else 0
    return max(1, int(cfg.model.max_length) - int(most if isinstance(most, int) else most[-1]))


def _longest(cfg: DictConfig, parts: build.Parts, task: str) -> RowTokens:
    """The most that a row can be, which advice must hold for."""
    width = _most_of_a_row(cfg, task)
    packed = parts.packing == "packed" and task == "sft"
    return RowTokens(width=width, target_width=width if cfg.model.architecture == "seq2seq" else None, packed=packed)


def _best(request: PlanRequest, estimate_of: Any, memory: float) -> Advice | None:
    advice = advise(request, estimate_of(request), estimate_of, memory)
    return advice[0] if advice and advice[0].fits else None


def _refusal(cfg: DictConfig, request: PlanRequest, least: Estimate, memory: float, best: Advice | None) -> str:
    largest = sorted(least.memory_gib.items(), key=lambda item: -item[1])[:3]
    told = ", ".join(f"{name} {gib:.1f}" for name, gib in largest)
    remedy = (
        "task=plan with the same settings shows more" if best is None else f"it would fit with {best.told()}; task=plan shows more ways"
    )
    return (
        f"model={cfg.model.name} with strategy/tuning={request.tuning.name} and strategy/parallel={request.parallel.name} needs about "
        f"{least.peak_memory_gib:.1f} GiB ({told}) on each device of hw={cfg.hw.name} even with batch.micro_size=1, and there are "
        f"{memory:.1f} GiB: {remedy}."
    )


def _warn(cfg: DictConfig, request: PlanRequest, estimate_of: Any, memory: float) -> None:
    asked = estimate_of(request)
    if asked.peak_memory_gib <= memory:
        return
    fitting, _ = largest_micro_size(request, estimate_of, memory, most=request.micro_size)
    advice = f"batch.micro_size={fitting} would fit" if fitting else "not even one row a forward fits with what the allocator keeps"
    log.warning(
        "batch.micro_size=%d is planned to take %.1f GiB of %.1f on hw=%s: %s",
        cfg.batch.micro_size, asked.peak_memory_gib, memory, cfg.hw.name, advice,
    )  # fmt: skip
