"""One optimizer step made of several micro-batches: which gradients are summed, averaged, clipped, and when.

Every strategy of Kinnari must give the gradient of  sum over all tokens of the global batch / number of trained tokens.
They differ in what the backend does with gradients on the way:

================  =======================  ===========================  ====================
strategy          across micro-batches     across ranks                 who clips
================  =======================  ===========================  ====================
single            summed by autograd       one rank                     `clip_gradients`
ddp               summed by autograd       summed by `sum_gradients`    `clip_gradients`
fsdp              summed after scattering  averaged in backward         `clip_gradients`
deepspeed_zero*   summed by the engine     averaged in backward         the engine, in step
================  =======================  ===========================  ====================

Where the backend averages, the loss is multiplied by the number of ranks (`loss_factor`), so the step is the same.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterable, Sequence
from typing import TypeVar

import torch
import torch.distributed as dist
from pytorch_lightning.plugins.precision import MixedPrecision
from pytorch_lightning.strategies import SingleDeviceStrategy, Strategy
from torch import Tensor
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors
from torch.distributed.tensor import DTensor
from torch.nn import Parameter
from torch.optim import Optimizer

from kinnari.errors import ConfigError
from kinnari.strategies.buckets import BUCKET_BYTES

log = logging.getLogger(__name__)

T = TypeVar("T")


class GradientRules:
    """What a strategy does with the gradients of one optimizer step. These defaults are those of one process."""

    averages_gradients = False

    def micro_batch_sync(self, is_last: bool) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def sum_gradients(self, parameters: Sequence[Parameter]) -> None:
        """One process already holds the sum."""

    def clip_gradients(self, parameters: Sequence[Parameter], max_norm: float | None) -> float:
        scale = loss_scale(self)
        total_norm = float(gradient_norm(parameters)) / scale
        if max_norm is not None:
            scale_gradients(parameters, total_norm, max_norm)
        return total_norm

    def step_with_clipping(self, optimizer: Optimizer, parameters: Sequence[Parameter], max_norm: float | None) -> float:
        total_norm = self.clip_gradients(parameters, max_norm)
        if not math.isfinite(total_norm) and not _has_loss_scaler(self):
            for parameter in parameters:  # an optimizer leaves a parameter without a gradient alone
                parameter.grad = None
        optimizer.step()
        return total_norm


class _OneProcess(GradientRules):
    """The rules of Lightning's own SingleDeviceStrategy, so that a notebook may use a plain Trainer."""

    def __init__(self, strategy: SingleDeviceStrategy) -> None:
        self.precision_plugin = strategy.precision_plugin


def gradient_rules(strategy: Strategy) -> GradientRules:
    """The rules of a strategy.

    Raises: ConfigError for a strategy whose treatment of gradients Kinnari does not know: a wrong guess would train with
    a wrong gradient and say nothing.
    """
    if isinstance(strategy, GradientRules):
        return strategy
    if isinstance(strategy, SingleDeviceStrategy):
        return _OneProcess(strategy)
    raise ConfigError(
        f"strategy {type(strategy).__name__} was not made by Kinnari, which must know whether it sums or averages"
        " gradients; pass Trainer(strategy=kinnari.strategies.parallel.build_strategy('ddp', ...)) or one device"
    )


def micro_batch_sync(strategy: Strategy, is_last: bool) -> contextlib.AbstractContextManager[None]:
    """Context for the forward and backward of one micro-batch; `is_last` marks the last one of the optimizer step."""
    return gradient_rules(strategy).micro_batch_sync(is_last)


def loss_factor(strategy: Strategy) -> float:
    """What the loss of a micro-batch is multiplied by: the number of ranks where gradients are averaged, else 1."""
    return float(strategy.world_size) if gradient_rules(strategy).averages_gradients else 1.0


def sum_gradients(strategy: Strategy, parameters: Iterable[Parameter]) -> None:
    """After the last micro-batch: make `.grad` the sum over ranks where the backend has not reduced it already."""
    gradient_rules(strategy).sum_gradients(list(parameters))


def clip_gradients(strategy: Strategy, parameters: Iterable[Parameter], max_norm: float | None) -> float:
    """Scale gradients down to an L2 norm of at most `max_norm` (None: only measure).

    Returns: the norm before clipping, without loss scale. Under DeepSpeed the engine clips within its step, so the value
    is that of the step before; `step_with_clipping` gives the right one everywhere. A norm that is not finite is
    returned as it is and leaves the gradients alone: a loss scaler then skips the step, without one `step_with_clipping` does.
    """
    return gradient_rules(strategy).clip_gradients(list(parameters), max_norm)


def step_with_clipping(strategy: Strategy, optimizer: Optimizer, parameters: Iterable[Parameter], max_norm: float | None) -> float:
    """Clip, then step. `optimizer` is the one of `LightningModule.optimizers()`, so that `global_step` counts it.

    Returns: L2 norm of the gradient of the global batch before clipping (inf where a loss scaler skipped the step).
    """
    return gradient_rules(strategy).step_with_clipping(optimizer, list(parameters), max_norm)


def agree_max(strategy: Strategy, value: float) -> float:
    """The largest `value` of all ranks, on every rank: ranks agree on an error, a halving, an early stop."""
    agreed = torch.tensor([value], dtype=torch.float64, device=strategy.root_device)
    if _has_peers():
        dist.all_reduce(agreed, op=dist.ReduceOp.MAX)
    return float(agreed)


def sum_over_ranks(strategy: Strategy, values: Tensor) -> Tensor:
    """Element-wise sum over ranks of values [K] (any number dtype). Returns [K] float64 on the strategy's device."""
    summed = values.detach().to(device=strategy.root_device, dtype=torch.float64, copy=True)
    if _has_peers():
        dist.all_reduce(summed)
    return summed


def gather_texts(texts: Sequence[str]) -> list[str]:
    """The texts of all ranks, sorted, each once. Collective; slow, for messages about an error."""
    return sorted({text for part in gather_objects(list(texts)) for text in part})


def gather_objects(mine: T) -> list[T]:
    """What every rank has of something small, by rank. Collective; the objects are pickled between our own ranks."""
    if not _has_peers():
        return [mine]
    gathered: list[T] = [mine] * dist.get_world_size()
    dist.all_gather_object(gathered, mine)
    return gathered


def _has_peers() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _has_loss_scaler(strategy: GradientRules) -> bool:
    plugin = strategy.precision_plugin
    return isinstance(plugin, MixedPrecision) and plugin.scaler is not None


def loss_scale(strategy: Strategy | GradientRules) -> float:
    """By what the gradients in `.grad` are too large: the loss scale of fp16, else 1."""
    plugin = strategy.precision_plugin
    if isinstance(plugin, MixedPrecision) and plugin.scaler is not None:
        return float(plugin.scaler.get_scale())
    return 1.0


def gradient_norm(parameters: Iterable[Parameter]) -> Tensor:
    """Global L2 norm of the gradients in `.grad`, plain or sharded (DTensor). Returns a float32 scalar tensor.

    Collective over the mesh where gradients are sharded: every rank must call it with the same parameters.
    """
    plain, sharded, group, device = [], [], None, None
    for parameter in parameters:
        if parameter.grad is None:
            continue
        device = parameter.grad.device
        if isinstance(parameter.grad, DTensor):
            sharded.append(parameter.grad.to_local())
            group = parameter.grad.device_mesh.get_group()
        else:
            plain.append(parameter.grad)
    squares = _sum_of_squares(sharded, device)
    if group is not None:
        dist.all_reduce(squares, group=group)
    return (squares + _sum_of_squares(plain, device)).sqrt().float()


def _sum_of_squares(gradients: list[Tensor], device: torch.device | None) -> Tensor:
    total = torch.zeros((), dtype=torch.float64, device=device)
    filled = [gradient for gradient in gradients if gradient.numel()]  # a rank may own no row of a short parameter
    if filled:
        # a model spread over several devices has its gradients there
        norms = [norm.to(device) for norm in torch._foreach_norm(filled, dtype=torch.float32)]
        total += torch.stack(norms).double().square().sum()
    return total


def scale_gradients(parameters: Iterable[Parameter], total_norm: float, max_norm: float) -> None:
    """Multiply gradients by min(1, max_norm / total_norm), in place. Source: torch.nn.utils.clip_grad_norm_."""
    coefficient = max_norm / (total_norm + 1e-6)
    if not coefficient < 1.0 or total_norm == float("inf"):
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    local = [gradient.to_local() if isinstance(gradient, DTensor) else gradient for gradient in gradients]
    if local:
        torch._foreach_mul_(local, coefficient)


@torch.no_grad()
def all_reduce_gradients(parameters: Sequence[Parameter], bucket_bytes: int = BUCKET_BYTES) -> None:
    """Sum `.grad` over ranks in flat buckets of one dtype. A gradient absent on some ranks counts as zero there.

    A gradient absent on every rank stays absent: optimizers skip such a parameter, weight decay included.
    """
    if not parameters or not _has_peers():
        return
    present = torch.tensor([p.grad is not None for p in parameters], dtype=torch.uint8, device=parameters[0].device)
    dist.all_reduce(present, op=dist.ReduceOp.MAX)
    used = [parameter for parameter, flag in zip(parameters, present.tolist(), strict=True) if flag]
    for parameter in used:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    for bucket in _buckets([parameter.grad for parameter in used if parameter.grad is not None], bucket_bytes):
        flat = _flatten_dense_tensors(bucket)
        dist.all_reduce(flat)
        torch._foreach_copy_(bucket, list(_unflatten_dense_tensors(flat, bucket)))


def _buckets(gradients: Sequence[Tensor], bucket_bytes: int) -> list[list[Tensor]]:
    """Gradients in their order, cut into lists of one dtype and at most `bucket_bytes` (one larger tensor goes alone)."""
    by_dtype: dict[torch.dtype, list[list[Tensor]]] = {}
    filled: dict[torch.dtype, int] = {}
    for gradient in gradients:
        lists = by_dtype.setdefault(gradient.dtype, [])
        size = gradient.numel() * gradient.element_size()
        if not lists or filled[gradient.dtype] + size > bucket_bytes:
            lists.append([])
            filled[gradient.dtype] = 0
        lists[-1].append(gradient)
        filled[gradient.dtype] += size
    return [bucket for lists in by_dtype.values() for bucket in lists]
