"""A plan is asked before everything is there: data, an adapter and a reward model that are yet to come are done without, and said to be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from kinnari.tasks.reward_folder import DESCRIPTION

TO_COME = "still to be given"  # no file, and no name of a hub dataset either


def without_what_is_to_come(cfg: DictConfig) -> tuple[DictConfig, list[str]]:
    """(the config of the planned run without what is not there yet, a sentence for each thing), the same config if all is there.

    Args:
        cfg: resolved.
    """
    changed, told = cfg.copy(), []
    missing = list(_missing(OmegaConf.to_container(cfg.data)))
    for path in missing:
        OmegaConf.update(changed, f"data.{path}", TO_COME)
    if missing:
        told.append(f"data.{', data.'.join(missing)} {'are' if len(missing) > 1 else 'is'} not given yet")
    adapter = cfg.model.adapter
    if adapter is not None and not (Path(adapter).expanduser() / "adapter_config.json").is_file():
        changed.model.adapter = None
        told.append(f"model.adapter={adapter} is not there yet, adapters of strategy.tuning are planned in its place")
    reward = cfg.reward.path
    if reward is not None and not (Path(reward).expanduser() / DESCRIPTION).is_file():
        changed.reward.path = None
        if cfg.task.name == "ppo" and cfg.ppo.reward == "model":
            told.append(f"reward.path={reward} is not there yet, a reward model of the policy's size is planned in its place")
    return changed, told


def _missing(node: Any, prefix: str = "") -> Iterator[str]:
    for name, value in node.items() if isinstance(node, dict) else ():
        if value == "???":
            yield f"{prefix}{name}"
        else:
            yield from _missing(value, f"{prefix}{name}.")
