"""From the very config that would be launched to what is asked of the planner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from kinnari.errors import ConfigError
from kinnari.models.spec import ModelSpec
from kinnari.planning.request import TASKS, Freezing, Hardware, Parallel, PlanRequest, RowTokens
from kinnari.rollouts.settings import PPOSettings
from kinnari.tasks import build
from kinnari.tasks.compose import conf_folder
from kinnari.tasks.model_rules import is_placed
from kinnari.tasks.reward_folder import read_description


def planned_config(cfg: DictConfig) -> DictConfig:
    """The config of the run that task=plan is asked about: the same, with the task that `plan.task` names.

    Raises:
        ConfigError: no such task can be planned.
    """
    name = cfg.plan.task
    if name not in TASKS:
        raise ConfigError(f"plan.task={name} is unknown; choose one of {', '.join(TASKS)}.")
    planned = cfg.copy()
    with open_dict(planned):
        planned.task = OmegaConf.load(conf_folder() / "task" / f"{name}.yaml")
        planned.task.pop("defaults", None)
    return planned


def plan_request(cfg: DictConfig, parts: build.Parts, rows: RowTokens, task: str) -> PlanRequest:
    """What the planner needs to know of a run.

    Args:
        cfg: of the run itself, resolved.
        rows: what stands in the rows of a forward.
        task: sft, reward or ppo.

    Raises:
        ConfigError: the run cannot be planned, or its reward model is not there.
    """
    if is_placed(build.plain(cfg)):
        raise ConfigError(
            f"strategy.parallel.device_map={cfg.strategy.parallel.device_map} is not planned: where the blocks of a model lie is decided "
            "when it is loaded. Plan a run with strategy/parallel=fsdp or deepspeed_zero3, or leave device_map out."
        )
    options = build.plain(cfg.strategy.parallel)
    return PlanRequest(
        spec=parts.spec,
        tuning=parts.tuning,
        parallel=Parallel(parts.parallel, bool(options.get("offload_optimizer")), bool(options.get("offload_parameters"))),
        hardware=hardware(cfg),
        rows=rows,
        precision=parts.precision,
        micro_size=cfg.batch.micro_size,
        global_size=cfg.batch.global_size,
        optimizer=cfg.optimizer.name,
        chunked_loss=cfg.model.chunked_loss,
        task=task,  # type: ignore[arg-type]  # checked by the record itself
        freezing=Freezing(
            fraction=cfg.reward.freeze_fraction,
            train_embeddings=cfg.reward.train_embeddings,
            checkpoint_frozen=cfg.reward.checkpoint_frozen,
        ),
        share_prompts=cfg.reward.share_prompts,
        ppo=PPOSettings(**{k: v for k, v in build.plain(cfg.ppo).items() if k in PPOSettings.__dataclass_fields__}),
        reward_spec=_reward_spec(cfg, parts) if task == "ppo" else None,
    )


def hardware(cfg: DictConfig) -> Hardware:
    """The machine of `hw=`."""
    hw: dict[str, Any] = build.plain(cfg.hw)
    return Hardware(
        name=hw["name"],
        accelerator=hw["accelerator"],
        device=hw["device"],
        devices=hw["devices"],
        nodes=hw["num_nodes"],
        memory_gib=hw["memory_gib"],
        peak_tflops=hw["peak_tflops"],
        bandwidth_gb_s=hw["bandwidth_gb_s"],
        interconnect_gb_s=hw.get("interconnect_gb_s"),
        host_gb_s=hw.get("host_gb_s"),
        network_gb_s=hw.get("network_gb_s"),
        watts=hw["watts"],
        flash_attention="flash_attention_2" in hw["attention"],
    )


def _reward_spec(cfg: DictConfig, parts: build.Parts) -> ModelSpec | None:
    """The backbone that scores answers; of a reward model that is yet to be trained, the policy's own."""
    if cfg.ppo.reward != "model":
        return None
    if cfg.reward.path is None:
        return parts.spec
    return ModelSpec(**read_description(Path(cfg.reward.path).expanduser())["model"])
