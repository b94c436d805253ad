"""Configurations -> models that answer many at once."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, open_dict

from kinnari.errors import ConfigError
from kinnari.serving.chat_model import ChatModel
from kinnari.serving.engine import Engine
from kinnari.serving.guard import Guard
from kinnari.serving.guarded import GuardedModel
from kinnari.tasks import build
from kinnari.tasks.compose import compose
from kinnari.tasks.rules import check

log = logging.getLogger(__name__)

LONGEST_WAIT_S = 7 * 24 * 3600


def engine(cfg: DictConfig, name: str | None = None, **limits: Any) -> Engine:
    """The model of a configuration, loaded as task=generate loads it.

    Args:
        name: it is served under; None is `served_name`.
        limits: of `Engine`.
    """
    shown = name or served_name(cfg)
    log.info("loading %s", shown)
    model, tokenizer = build.load_for_inference(cfg)
    return Engine(model, tokenizer, build.template(cfg, tokenizer), name=shown, **limits)


def guard_of(cfg: DictConfig) -> Guard | None:
    """The guard of `guard=`; None where there is none. To be made first: it is small, and its mistakes are soon told."""
    return None if cfg.get("guard") is None else instantiate(cfg.guard, _convert_="all")


def guarded(guard: Guard | None, models: Sequence[ChatModel]) -> list[ChatModel]:
    """The models behind one guard for all."""
    return list(models) if guard is None else [GuardedModel(model, guard) for model in models]


def check_timeout(name: str, value: object) -> None:
    """Raises ConfigError: no number of seconds that can be waited for."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= LONGEST_WAIT_S:
        raise ConfigError(f"{name}={value} must be a number of seconds above 0, and at most {LONGEST_WAIT_S} (a week).")


def served_name(cfg: DictConfig) -> str:
    """The model's name on the page, in feedback and in votes: with the folder of its adapter, or the run's where that is `adapter`.

    model.adapter=RUN/adapter -> smollm2_135m+RUN, model.adapter=RUN/step_100 -> smollm2_135m+step_100
    """
    if cfg.model.adapter is None:
        return str(cfg.model.name)
    return f"{cfg.model.name}+{_called(cfg.model.adapter)}"


def other_config(cfg: DictConfig) -> DictConfig | None:
    """The configuration of the second model; None where `serve.other` asks for none.

    Raises:
        ConfigError: it would be the first model once more, or breaks a rule of its own.
    """
    other = cfg.serve.other
    if all(other[key] is None for key in ("model", "path", "adapter", "name")):
        return None
    second = copy.deepcopy(cfg)
    with open_dict(second):
        if other.model is not None:
            second.model = compose([f"model={other.model}"]).model
        if other.path is not None:
            second.model.path = other.path
            second.model.name = _called(other.path)
        second.model.adapter = other.adapter
    if all(second.model[key] == cfg.model[key] for key in ("path", "package", "toy", "adapter", "shrunk")):
        raise ConfigError(
            "serve.other is the model of model= once more. Name what differs: serve.other.adapter, serve.other.path or serve.other.model; "
            "or give the first model an adapter, and serve.other.name=base is the model without it."
        )
    check(second)
    return second


def _called(path: str) -> str:
    """The last part of a hub id, folder or file; what `task=sft` and `task=export` name alike is called after its run."""
    place = Path(path).absolute()
    return (place.parent if place.name in ("adapter", "merged", "hf") else place).name.removesuffix(".gguf")
