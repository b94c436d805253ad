"""A name for what a model computes: a hash of its weights and of the settings that shape its answers."""

from __future__ import annotations

import hashlib
import json
import logging

import torch
from peft import PeftModel
from torch import Tensor, nn

from kinnari.errors import ConfigError
from kinnari.models.head import base_model_of

log = logging.getLogger(__name__)

SLOW_BYTES = 2**31  # a gigabyte a second is hashed
# where a model came from, not what it computes
_NOT_COMPUTED = ("_name_or_path", "transformers_version", "base_model_name_or_path", "task_type", "inference_mode", "revision")


def model_fingerprint(model: nn.Module) -> str:
    """Hash of all that a model computes with: weights, adapters and their scale, dtypes, quantisation, shapes.

    It reads every weight, about a gigabyte a second. A model that learns on has another one.

    Raises:
        ConfigError: the weights are sharded over ranks, so none of them has all.
    """
    state = model.state_dict()
    tensors = {name: value for name, value in sorted(state.items()) if isinstance(value, Tensor)}
    if any(_is_sharded(value) for value in tensors.values()):
        raise ConfigError("The weights are sharded over ranks and have no common fingerprint; set benchmark.cache=false.")
    if sum(value.numel() * value.element_size() for value in tensors.values()) > SLOW_BYTES:
        log.info("Hashing the weights, by which cached log-probabilities are found.")
    digest = hashlib.blake2b(digest_size=16)
    settings = [base_model_of(model).config.to_dict()]
    if isinstance(model, PeftModel):
        settings += [{"active": model.active_adapters, **{name: each.to_dict() for name, each in model.peft_config.items()}}]
    for each in settings:
        digest.update(json.dumps(_computed(each), sort_keys=True, default=_text).encode())
    for name, value in tensors.items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\0".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _is_sharded(value: Tensor) -> bool:
    from torch.distributed.tensor import DTensor

    return isinstance(value, DTensor)


def _computed(settings: object) -> object:
    if isinstance(settings, dict):
        return {str(name): _computed(value) for name, value in settings.items() if name not in _NOT_COMPUTED}
    return settings


def _text(value: object) -> object:
    return sorted(map(str, value)) if isinstance(value, set | frozenset) else str(value)
