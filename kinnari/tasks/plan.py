"""task=plan: will it fit, how long, how much electricity; from the config that would be launched, without weights or a GPU.

output_dir/plan.json     everything, with the breakdown of each phase and the figures of each advice
           memory.png    memory by component as stacked bars, beside what is advised
with -m, in the folder of the sweep:
           matrix.json, matrix.html    all combinations
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from kinnari.errors import ConfigError, need_number, need_truth
from kinnari.planning.energy import grid
from kinnari.planning.outlook import Outlook, look_ahead
from kinnari.tasks import build
from kinnari.tasks.estimating import Estimator
from kinnari.tasks.plan_matrix import PAGE, matrix_row, refused_row, write_matrix
from kinnari.tasks.plan_measure import measure, need_this_machine
from kinnari.tasks.plan_picture import draw
from kinnari.tasks.plan_request import plan_request, planned_config
from kinnari.tasks.plan_terminal import print_outlook
from kinnari.tasks.plan_to_come import without_what_is_to_come
from kinnari.tasks.plan_tokens import DataTokens, tokens_of
from kinnari.tasks.result import finite
from kinnari.tasks.rules import check
from kinnari.tasks.run import in_sweep

log = logging.getLogger(__name__)

PLAN, PICTURE = "plan.json", "memory.png"


def plan(cfg: DictConfig) -> dict[str, Any]:
    """Plan the run, show it, and in a sweep add it to the matrix; what goes into result.json.

    Raises:
        ConfigError: the run could not be launched at all; in a sweep its cell says why.
    """
    check_section(cfg)
    folder = Path(cfg.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    planned, to_come = planned_config(cfg), list[str]()
    if not cfg.plan.measure:
        planned, to_come = without_what_is_to_come(planned)
    try:
        check(_with_reward_to_come(planned))
        if cfg.plan.measure:
            need_this_machine(planned)
        outlook = outlook_of(planned, cfg.plan.task, to_come)
    except ConfigError as refusal:
        if not in_sweep():
            raise
        log.warning("%s", refusal)
        _keep(folder, {"row": refused_row(planned, str(refusal))})
        return {"status": "refused", "fits": False, "error": str(refusal)}
    values = outlook.values()
    if cfg.plan.measure:
        values |= measure(planned, outlook, folder / "measured", int(cfg.plan.measure_steps))
    print_outlook(planned, outlook, values, _words())
    draw(outlook, folder / PICTURE)
    _keep(folder, values | {"row": matrix_row(planned, outlook)})
    return values


def outlook_of(cfg: DictConfig, task: str, to_come: Sequence[str] = ()) -> Outlook:
    """What is ahead of the run that `cfg` describes.

    Args:
        to_come: a sentence for each thing that is done without.

    Raises:
        ConfigError: it cannot be planned.
    """
    parts = build.parts(cfg)
    tokens = tokens_of(cfg, parts, task)
    request = plan_request(cfg, parts, tokens.rows(cfg.batch.micro_size, parts.world_size), task)
    return look_ahead(
        request,
        Estimator(tokens),
        headroom=cfg.plan.headroom,
        grid=grid(cfg.plan.country, cfg.plan.kg_per_kwh),
        pue=cfg.plan.pue,
        steps=_steps(cfg, tokens, task),
        told="; ".join([tokens.told, *to_come]),
    )


def check_section(cfg: DictConfig) -> None:
    """The settings of `plan`.

    Raises:
        ConfigError: one of them cannot be.
    """
    need_number("plan.headroom", cfg.plan.headroom, least=0, below=1, why="0 fills a device to its last byte")
    need_number("plan.pue", cfg.plan.pue, least=1, why="a building takes no less than its computers")
    need_number("plan.measure_steps", cfg.plan.measure_steps, least=1, whole=True)
    need_truth("plan.measure", cfg.plan.measure)
    need_truth("plan.enforce", cfg.plan.enforce)


def _with_reward_to_come(planned: DictConfig) -> DictConfig:
    """For the rules: PPO can be planned before its reward model is trained."""
    if planned.task.name != "ppo" or planned.reward.path is not None:
        return planned
    changed = planned.copy()
    changed.reward.path = "to be trained"
    return changed


def _steps(cfg: DictConfig, tokens: DataTokens, task: str) -> float | None:
    """Optimizer steps of the run, iterations of task=ppo; None where an epoch's length is not known."""
    if task == "ppo":
        return int(cfg.ppo.iterations)
    if cfg.trainer.max_steps is not None:
        return int(cfg.trainer.max_steps)
    return None if tokens.records is None else cfg.trainer.max_epochs * -(-tokens.records // cfg.batch.global_size)


def _words() -> list[str]:
    """Of the command line, where there is one."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else ["task=plan"]


def _keep(folder: Path, values: dict[str, Any]) -> None:
    """plan.json of this run, and the matrix of the sweep up to it."""
    (folder / PLAN).write_text(json.dumps(finite(values), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if in_sweep():
        write_matrix(Path(HydraConfig.get().sweep.dir), int(HydraConfig.get().job.num))
        log.info("all combinations so far: %s", Path(HydraConfig.get().sweep.dir).absolute() / PAGE)
