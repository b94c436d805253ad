"""Optimizers and learning-rate schedulers by name, as targets for Hydra's `_partial_` or for a notebook.

    groups = decay_groups(model)
    optimizer = build_optimizer(groups, name="adamw", lr=2e-4, weight_decay=0.01)
    scheduler = build_scheduler(optimizer, name="cosine", total_steps=1000, warmup_ratio=0.03)

| name | from | state per parameter | CPU |
|---|---|---|---|
| adamw | torch, fused | 8 bytes | yes |
| adamw_8bit | bitsandbytes | 2 bytes + 8 / 256 | yes |
| paged_adamw | bitsandbytes | 8 bytes, moved to host memory under pressure | runs, but nothing is paged |
| paged_adamw_8bit | bitsandbytes | 2 bytes + 8 / 256, same | runs, but nothing is paged |
| adafactor | torch | about 4 / rows + 4 / columns bytes | yes |
| lion | bitsandbytes | 4 bytes | yes |

bitsandbytes keeps tensors below 4096 elements in 32 bits whatever the name says. Measured with torch 2.13, bitsandbytes
0.50.2.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from kinnari.errors import ConfigError
from kinnari.functional import schedules

log = logging.getLogger(__name__)

_FUSED_DEVICES = {"cpu", "cuda", "mps", "xpu"}  # torch 2.13
_BITSANDBYTES_DEVICES = {"cpu", "cuda", "xpu"}


def decay_groups(model: nn.Module, weight_decay: float | None = None) -> list[dict[str, Any]]:
    """Trainable parameters in at most two groups: those that decay, and those that do not (weight_decay 0).

    Matrices decay: projections, embeddings, LoRA's A and B. Vectors do not: biases and norms, whose size means
    something and which a pull towards 0 would only scale down. Within a group the order is the model's, so a
    checkpoint's integer indexes stay true.

    Args:
        model: frozen parameters are left out, and a tied one appears once.
        weight_decay: for the first group; None leaves it to the optimizer's own.

    Raises:
        ConfigError: nothing is trainable.
    """
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            vector = _dimensions(parameter) < 2 or name.endswith("bias")
            (kept if vector else decayed).append(parameter)
    if not decayed and not kept:
        raise ConfigError("no parameter is trainable: choose strategy/tuning=full or lora, or unfreeze some layers")
    first: dict[str, Any] = {"params": decayed} if weight_decay is None else {"params": decayed, "weight_decay": weight_decay}
    groups = [first, {"params": kept, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def build_optimizer(
    params: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
    *,
    name: str,
    lr: float,
    betas: Sequence[float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> Optimizer:
    """The optimizer `name` over parameters or groups such as `decay_groups` gives.

    Args:
        params: on the device they will train on: bitsandbytes and the fused kernels depend on it.
        name: one of the table above.
        lr: peak learning rate. Lion wants about a tenth of AdamW's (arXiv:2302.06675, section 5).
        betas: not for adafactor, which has its own decay.
        eps: not for lion, which has none, and not for adafactor, which has two of its own.
        weight_decay: decoupled, times lr a step, for groups that do not say otherwise.

    Raises:
        ConfigError: an unknown name, numbers out of range, or a device the optimizer has no kernels for.
    """
    if name not in _BUILDERS:
        raise ConfigError(f"optimizer name {name!r} is unknown: choose one of {', '.join(_BUILDERS)}")
    if lr < 0.0 or weight_decay < 0.0:
        raise ConfigError(f"optimizer.lr={lr}, optimizer.weight_decay={weight_decay}: both must be at least 0")
    first, second = betas
    if not (0.0 <= first < 1.0 and 0.0 <= second < 1.0):
        raise ConfigError(f"optimizer.betas={list(betas)}: both must lie in [0, 1)")
    entries: list[Any] = list(params)
    devices = {parameter.device.type for parameter in _parameters(entries)}
    return _BUILDERS[name](entries, devices, lr=lr, betas=(first, second), eps=eps, weight_decay=weight_decay)


def build_scheduler(
    optimizer: Optimizer,
    *,
    name: str,
    total_steps: int,
    warmup_ratio: float | None = None,
    warmup_steps: int | None = None,
    **shape: float | str | None,
) -> LambdaLR:
    """The schedule `name` of `kinnari.functional.schedules`, stepped once an optimizer step.

    Its `state_dict` holds numbers alone and loads with weights_only=True; the function is rebuilt from the config on
    resume.

    Args:
        total_steps: optimizer steps of the whole run, not of what is left of it.
        warmup_ratio: warmup as a share of total_steps; or warmup_steps, as a number. One of them, or neither.
        shape: what the schedule's function takes beside these: floor, warmup_type, div_factor, final_div_factor,
            timescale.

    Raises:
        ConfigError: an unknown name or shape, or settings the schedule refuses.
    """
    if name not in _SCHEDULES:
        raise ConfigError(f"scheduler name {name!r} is unknown: choose one of {', '.join(_SCHEDULES)}")
    try:
        warmup = schedules.resolve_warmup(total_steps, warmup_ratio=warmup_ratio, warmup_steps=warmup_steps)
        factor = partial(_SCHEDULES[name], total_steps=total_steps, warmup_steps=warmup, **shape)
        factor(0)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"scheduler {name}: {error}") from error
    # LambdaLR stores the attributes of callable objects in its state, a partial's among them; of a plain function it
    # stores nothing.
    return LambdaLR(optimizer, lambda step: factor(step))


def _adamw(params: list, devices: set[str], *, lr, betas, eps, weight_decay) -> Optimizer:
    fused = devices <= _FUSED_DEVICES
    return torch.optim.AdamW(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, fused=fused)


def _adafactor(params: list, devices: set[str], *, lr, betas, eps, weight_decay) -> Optimizer:
    # torch's lr bounds Adafactor's relative step; betas and eps of AdamW mean nothing to it, so its own defaults stay.
    return torch.optim.Adafactor(params, lr=lr, weight_decay=weight_decay)


def _bitsandbytes(class_name: str, params: list, devices: set[str], *, lr, betas, eps, weight_decay) -> Optimizer:
    import bitsandbytes

    if not devices <= _BITSANDBYTES_DEVICES:
        raise ConfigError(
            f"bitsandbytes' {class_name} has no kernels for {', '.join(sorted(devices))}: use optimizer=adamw, or build "
            "the optimizer once the model is on its device"
        )
    if class_name.startswith("Paged") and "cpu" in devices:
        log.warning("%s on the CPU pages nothing: parameters are in host memory already; the arithmetic is the same", class_name)
    settings = {"lr": lr, "betas": betas, "weight_decay": weight_decay}
    if class_name != "Lion":
        settings["eps"] = eps
    return bitsandbytes.optim.__dict__[class_name](params, **settings)


_BUILDERS: dict[str, Callable[..., Optimizer]] = {
    "adamw": _adamw,
    "adamw_8bit": partial(_bitsandbytes, "AdamW8bit"),
    "paged_adamw": partial(_bitsandbytes, "PagedAdamW32bit"),
    "paged_adamw_8bit": partial(_bitsandbytes, "PagedAdamW8bit"),
    "adafactor": _adafactor,
    "lion": partial(_bitsandbytes, "Lion"),
}

_SCHEDULES: dict[str, Callable[..., float]] = {
    "constant": schedules.constant,
    "linear": schedules.linear,
    "cosine": schedules.cosine,
    "warmup_decay": schedules.warmup_decay,
    "one_cycle": schedules.one_cycle,
    "inverse_sqrt": schedules.inverse_sqrt,
}


def _parameters(params: list) -> list[Tensor]:
    """Parameters of a list of them or of groups."""
    return [p for entry in params for p in (entry["params"] if isinstance(entry, dict) else [entry])]


def _dimensions(parameter: nn.Parameter) -> int:
    """Dimensions of the whole parameter: ZeRO-3 leaves an empty stub behind and notes the shape in `ds_shape`."""
    return len(vars(parameter).get("ds_shape", parameter.shape))
