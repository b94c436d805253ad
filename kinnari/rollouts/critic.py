"""A critic of its own: a second trained adapter on the policy's backbone, with the value head on top.

Sources: critic and actor apart, DeepSpeed-Chat, arXiv 2308.01320, section 3.2; there both are whole models.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from kinnari.errors import ConfigError
from kinnari.models.head import base_model_of
from kinnari.rollouts.reward_model import ModelReward, adapter_in_use
from kinnari.rollouts.rewards import Reward

CRITIC = "critic"
VALUE_HEAD = "value_head."

Build = Callable[[list[dict[str, Any]]], torch.optim.Optimizer]


def add_critic(policy: nn.Module, value_head: nn.Linear, reward: Reward) -> None:
    """Put the adapter CRITIC on the policy's backbone, trained beside the policy's own and active only within `adapter_in_use`.

    It begins as the reward adapter with its head, where the reward is one on the same backbone; else as the policy's adapter, with
    the value head as it is.

    Args:
        policy: before it is sharded.
        value_head: gets the reward head's weights where those begin it.

    Raises:
        ConfigError: the policy has no adapter, or trains biases of the base, which both adapters would share.
    """
    if not isinstance(policy, PeftModel):
        raise ConfigError(
            "ppo.critic=separate with strategy/tuning=full: the critic is a second adapter on the policy's backbone, and full tuning has "
            "none. Use strategy=lora or qlora, or ppo.critic=shared."
        )
    start = policy.active_adapters[0]
    own: Any = policy.peft_config[start]
    if own.bias != "none":
        raise ConfigError(
            "ppo.critic=separate needs strategy.tuning.bias=none: biases are the base's own, and the policy would change with its critic."
        )
    if isinstance(reward, ModelReward) and reward.adapter is not None:
        start = reward.adapter
        value_head.load_state_dict(reward.head.state_dict())
    config = copy.deepcopy(policy.peft_config[start])
    config.inference_mode = False
    taking = {name: parameter.requires_grad for name, parameter in policy.named_parameters()}
    policy.add_adapter(CRITIC, config)
    named = dict(policy.named_parameters())
    with torch.no_grad():
        for name, parameter in named.items():
            # PEFT marks anew what is trained when an adapter is added (0.21)
            parameter.requires_grad_(f".{CRITIC}." in name or taking[name])
            if f".{CRITIC}." in name:
                parameter.data = named[name.replace(f".{CRITIC}.", f".{start}.")].detach().float().clone()
    _recompute_with_the_same_adapter(policy)


def is_critics(name: str) -> bool:
    """Whether a parameter of a PPO module is the critic's and not the policy's."""
    return f".{CRITIC}." in name or name.startswith(VALUE_HEAD)


def with_critic_lr(build: Build, module: nn.Module, lr: float) -> Build:
    """An optimizer whose groups are parted into the policy's, and the critic's with a peak learning rate of their own."""

    def parted(groups: Sequence[dict[str, Any]]) -> torch.optim.Optimizer:
        critic = {id(parameter) for name, parameter in module.named_parameters() if is_critics(name)}
        found: list[dict[str, Any]] = []
        for group in groups:
            rest = [p for p in group["params"] if id(p) not in critic]
            mine = [p for p in group["params"] if id(p) in critic]
            found += [group | {"params": rest}] if rest else []
            found += [group | {"params": mine, "lr": lr}] if mine else []
        return build(found)

    return parted


def _recompute_with_the_same_adapter(policy: PeftModel) -> None:
    """Gradient checkpoints compute a block again in the backward, when the adapter of its forward is no longer the active one."""
    base: Any = base_model_of(policy)
    layers = [module for module in policy.modules() if isinstance(module, LoraLayer)]
    if not any(module.gradient_checkpointing for module in base.modules() if isinstance(module, GradientCheckpointingLayer)):
        return

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), adapter_in_use(policy, layers[0].active_adapters[0])

    base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False, "context_fn": contexts})
