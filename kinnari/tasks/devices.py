"""Whether this machine has the devices and packages that a run asks for, before anything is read or loaded."""

from __future__ import annotations

from importlib.util import find_spec

from omegaconf import DictConfig

from kinnari.errors import ConfigError

ON_DEVICES = ("sft", "reward", "dpo", "ppo", "rlhf", "compare", "evaluate", "generate", "chat", "serve")
LOGGERS = {"pytorch_lightning.loggers.WandbLogger": "wandb"}  # class -> its package and extra, where the extra is not installed by default


def check_packages(cfg: DictConfig) -> None:
    """Look for the packages of extras that a run would need only after its model is loaded.

    Raises:
        ConfigError: one is not installed.
    """
    for node in cfg.logger.values():
        package = LOGGERS.get(node.get("_target_", ""))
        if package and find_spec(package) is None:
            raise ConfigError(f"logger={package} needs the package {package}: pip install 'kinnari[{package}]'. Or take logger=csv.")
    if cfg.callbacks.get("energy") and cfg.callbacks.energy.get("country"):
        from kinnari.planning.energy import grid

        grid(cfg.callbacks.energy.country, cfg.callbacks.energy.get("kg_per_kwh"))
    if cfg.task.name == "serve":
        _check_service(page=cfg.serve.page)


def _check_service(*, page: bool) -> None:
    missing = [name for name in ("fastapi", "uvicorn", *(["gradio"] if page else [])) if find_spec(name) is None]
    if missing:
        alone = " The API alone does without gradio: serve.page=false." if missing == ["gradio"] else ""
        raise ConfigError(f"task=serve needs {' and '.join(missing)}: pip install 'kinnari[serve]'.{alone}")


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
