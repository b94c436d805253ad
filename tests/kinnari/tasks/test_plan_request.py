"""From a config to what is asked of the planner."""

from __future__ import annotations

import pytest

from kinnari.errors import ConfigError
from kinnari.planning.request import Parallel, RowTokens
from kinnari.tasks import build
from kinnari.tasks.compose import compose
from kinnari.tasks.plan_request import plan_request, planned_config

ROWS = RowTokens(width=64)


def asked(*words: str):
    cfg = planned_config(compose(["task=plan", *words]))
    return plan_request(cfg, build.parts(cfg), ROWS, cfg.task.name)


def test_the_run_is_the_one_that_would_be_launched():
    request = asked("model=xglm7b", "strategy=qlora", "hw=v100x4", "batch.micro_size=4", "optimizer=adamw_8bit", "strategy.tuning.r=64")
    assert (request.spec.name, request.tuning.name, request.tuning.r, request.optimizer) == ("xglm7b", "qlora", 64, "adamw_8bit")
    assert (request.parallel, request.precision, request.micro_size, request.task) == (Parallel("ddp"), "16-mixed", 4, "sft")
    hardware = request.hardware
    assert (hardware.world_size, hardware.memory_gib, hardware.watts, hardware.flash_attention) == (4, 32, 300, False)
    assert asked("hw=a100x8").hardware.flash_attention


def test_offloading_and_freezing_come_along():
    zero = ["strategy=deepspeed", "hw=v100x4", "strategy.parallel.offload_optimizer=true"]
    assert asked(*zero).parallel == Parallel("deepspeed_zero2", offload_optimizer=True)
    assert asked("plan.task=reward", "data=chatterbot_ranked", "reward.freeze_fraction=0.5").freezing.fraction == 0.5


def test_a_model_spread_by_accelerate_is_not_planned():
    with pytest.raises(ConfigError, match="device_map=balanced is not planned"):
        asked("strategy/parallel=single", "strategy.parallel.device_map=balanced", "hw=v100x4")


def test_ppo_can_be_planned_before_its_reward_model_is_trained():
    cfg = planned_config(compose(["task=plan", "model=tiny_causal", "plan.task=ppo"]))
    parts = build.parts(cfg)
    request = plan_request(cfg, parts, ROWS, "ppo")
    assert request.reward_spec == parts.spec and request.task == "ppo"
    cfg.ppo.reward = "rule"
    assert plan_request(cfg, parts, ROWS, "ppo").reward_spec is None
