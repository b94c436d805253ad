"""What a CUDA device does otherwise than the CPU, done on fake CPU tensors: attention kernels, and what autocast keeps in float32.

torch's build for the CPU cannot run a fake CUDA tensor through autograd (2.13: "not linked with support for cuda devices"), and the
plan must be the same on a laptop without one. So the shapes run as CPU tensors, and the two differences that memory shows are put in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.flop_counter import sdpa_backward_flop_count, sdpa_flop_count

from kinnari.models.attention import kernel
from kinnari.planning.live_bytes import LiveBytes

_HALVES = (torch.float16, torch.bfloat16)
_attend_exactly = scaled_dot_product_attention


@contextmanager
def replaced(module: ModuleType, name: str, function: Any) -> Iterator[None]:
    """Within it `module.name` is `function`."""
    before = vars(module)[name]
    setattr(module, name, function)
    try:
        yield
    finally:
        setattr(module, name, before)


@contextmanager
def gpu_arithmetic(live: LiveBytes, *, flash: bool) -> Iterator[None]:
    """Within it attention keeps what the kernel of a GPU keeps, and autocast on the CPU follows CUDA's list.

    The functions are replaced by name, since a backward that computes blocks again runs outside of torch's function modes (2.13).

    Args:
        live: counts the operations of attention.
        flash: whether the device has the flash kernel.
    """

    def attend(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
               is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False) -> Tensor:  # fmt: skip
        del dropout_p  # the kernels draw the same noise again in the backward
        return _attend(live, flash, (query, key, value), attn_mask, is_causal, scale, enable_gqa)

    def whole(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float, scaling: float) -> Tensor:
        return attend(query, key, value, mask, dropout, mask is None, scaling)

    with ExitStack() as stack:
        # those that language models call of autocast_mode.h, AT_FORALL_FP32 and AT_FORALL_FP32_SET_OPT_DTYPE (torch 2.13)
        for name in ("layer_norm", "softmax", "log_softmax"):
            stack.enter_context(replaced(F, name, _in_float32(vars(F)[name])))
        stack.enter_context(replaced(F, "scaled_dot_product_attention", attend))
        stack.enter_context(replaced(kernel, "scaled_dot_product_attention", attend))
        # attention in blocks of queries is for the CPU alone
        stack.enter_context(replaced(kernel, "_attend_in_blocks", whole))
        if find_spec("bitsandbytes") is not None:
            from bitsandbytes.autograd import _functions as bnb

            stack.enter_context(replaced(bnb, "MatMul8bitFp", bnb.MatMul8bitLt))
        yield


def _in_float32(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def widened(value: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if torch.is_autocast_enabled("cpu") and value.dtype in _HALVES and kwargs.get("dtype") is None:
            value = value.float()
            args = tuple(_wide(part) for part in args)
            kwargs = {name: _wide(part) for name, part in kwargs.items()}
        return function(value, *args, **kwargs)

    return widened


def _wide(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in _HALVES else value


def _attend(live: LiveBytes, flash: bool, inputs: Any, mask: Tensor | None, causal: bool, scale: float | None, shared: bool) -> Tensor:
    if torch.is_autocast_enabled("cpu"):
        inputs = tuple(part.to(torch.get_autocast_dtype("cpu")) for part in inputs)
    query, key, value = inputs
    flash = flash and mask is None and query.dtype in _HALVES and query.shape[-1] <= 256
    if not flash and shared and key.shape[1] != query.shape[1]:
        # the memory-efficient kernel knows no shared key heads (torch 2.13, sdp_utils.cpp): every score is stored
        with sdpa_kernel(SDPBackend.MATH):
            return _attend_exactly(query, key, value, mask, 0.0, causal, scale=scale, enable_gqa=shared)
    if mask is not None and mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=query.dtype)  # the efficient kernel adds it to the scores
    return _Kernel.apply(query, key, value, mask, live)


class _Kernel(torch.autograd.Function):
    """Flash and memory-efficient attention, as shapes: kept are the inputs, the output and a log-sum-exp for each query.

    The backward adds up the gradient of the queries in float32 (FlashAttention-2, arXiv:2307.08691, section 3.1).
    """

    @staticmethod
    def forward(ctx, query, key, value, mask, live):  # type: ignore[no-untyped-def]
        out = query.new_empty((*query.shape[:-1], value.shape[-1]))
        lse = query.new_empty(query.shape[:-1], dtype=torch.float32)
        live.add_flops(sdpa_flop_count(query.shape, _whole(key, query), _whole(value, query)))
        ctx.save_for_backward(query, key, value, mask, out, lse)
        ctx.live = live
        return out

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        query, key, value, mask, _, lse = ctx.saved_tensors
        ctx.live.add_flops(sdpa_backward_flop_count(grad.shape, query.shape, _whole(key, query), _whole(value, query)))
        sums = torch.empty_like(query, dtype=torch.float32), torch.empty_like(lse)
        grads = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
        del sums
        return *grads, None if mask is None or not ctx.needs_input_grad[3] else torch.empty_like(mask), None


def _whole(keys: Tensor, query: Tensor) -> tuple[int, ...]:
    return (keys.shape[0], query.shape[1], *keys.shape[2:])
