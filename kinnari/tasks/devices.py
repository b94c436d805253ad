"""Whether this machine has the devices that a run asks for, before anything is read or loaded."""

from __future__ import annotations

from omegaconf import DictConfig

from kinnari.errors import ConfigError

ON_DEVICES = ("sft", "reward", "dpo", "ppo", "rlhf", "compare", "evaluate", "generate", "chat", "serve")


def check_devices(cfg: DictConfig, ranks: bool) -> None:
    """Look for the GPUs of `hw`.

    Args:
        ranks: each device has a process of its own; without them one is enough.

    Raises:
        ConfigError: there are fewer.
    """
    if cfg.hw.accelerator != "gpu" or cfg.task.name not in ON_DEVICES:
        return
    import torch

    wanted, here = cfg.hw.devices if ranks else 1, torch.cuda.device_count()
    if here < wanted:
        raise ConfigError(
            f"hw={cfg.hw.name} asks for {wanted} GPU{'s' * (wanted > 1)}, and this machine has {here or 'none'}. Take hw=cpu or a profile "
            "that fits the machine; task=plan says without a GPU what the run would need, debug=toy tries it in small."
        )
