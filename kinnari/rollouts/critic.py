"""A critic of its own, with the value head on top: a second trained adapter on the policy's backbone, or a second backbone.

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
from kinnari.export.merged import merged_tensors
from kinnari.models.backbone import freeze_untied_head
from kinnari.models.head import base_model_of, install_loss_head
from kinnari.rollouts.reward_model import ModelReward, adapter_in_use
from kinnari.rollouts.rewards import Reward

CRITIC = "critic"
VALUE_HEAD = "value_head."

Build = Callable[[list[dict[str, Any]]], torch.optim.Optimizer]


def add_critic(policy: nn.Module, value_head: nn.Linear, reward: Reward) -> nn.Module | None:
    """A critic apart from the policy, trained beside it: an adapter on the policy's backbone, or under full tuning a second backbone.

    The adapter (CRITIC) is active only within `adapter_in_use`. It begins as the reward adapter with its head, where the reward is one
    on the same backbone; else as the policy's adapter, with the value head as it is. A second backbone begins as the reward model where
    `ModelReward.begins_critic` says that this can be; else as the policy. It trains what the policy trains, but for an output head
    that it never calls.

    Args:
        policy: before it is sharded.
        value_head: gets the reward head's weights where those begin it.

    Returns:
        The second backbone, None for an adapter.

    Raises:
        ConfigError: the policy trains biases of the base beside its adapter, which both adapters would share.
    """
    if not isinstance(policy, PeftModel):
        return _second_backbone(policy, value_head, reward)
    _add_adapter(policy, value_head, reward)
    return None


def _second_backbone(policy: nn.Module, value_head: nn.Linear, reward: Reward) -> nn.Module:
    critic = copy.deepcopy(policy)
    if isinstance(reward, ModelReward) and reward.begins_critic:
        weights = merged_tensors(base_model_of(reward.model))
        with torch.no_grad():
            for name, parameter in critic.named_parameters():
                parameter.copy_(weights[name]())
        value_head.load_state_dict(reward.head.state_dict())
    freeze_untied_head(critic, install_loss_head(critic))
    return critic


def _add_adapter(policy: PeftModel, value_head: nn.Linear, reward: Reward) -> None:
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
    return f".{CRITIC}." in name or name.startswith((f"{CRITIC}.", VALUE_HEAD))


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
