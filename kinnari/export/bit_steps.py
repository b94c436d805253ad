"""Exact differences of tensors: how many representable numbers lie between two, element by element.

Subtracting floats rounds, so base + (tuned - base) is not tuned. The numbers that a dtype can represent are ordered, and
their places in that order are integers: differences of places are exact, and add up again to the same bits, NaN payloads,
infinities and -0 included. A small update is a small integer, so most high bytes of a difference are 0 or 255 and it compresses.
"""

from __future__ import annotations

import torch
from torch import Tensor

_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_CHUNK = 1 << 18  # elements at a time: intermediate results stay in the processor's cache


def starting_point(base: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor | None:
    """`base` brought to the dtype and the rows of the tensor that steps lead to, the same on every machine.

    Rows are cut, or filled up with zeros (tokens added to a vocabulary): a step from zero is the new number itself. Floats are
    converted with torch's rounding to nearest even, NaN to zero, since its bits after a conversion depend on the processor.

    Returns:
        None where there is no such thing: other dimensions, or integers on one side only.
    """
    if base.dim() != len(shape) or base.shape[1:] != torch.Size(shape[1:]):
        return None
    if base.dtype != dtype:
        if not (base.is_floating_point() and dtype.is_floating_point):
            return None
        base = base.to(dtype).masked_fill_(base.float().isnan(), 0)
    if base.dim() and base.shape[0] != shape[0]:
        rows = base[: shape[0]]
        base = torch.zeros(shape, dtype=dtype)
        base[: len(rows)] = rows
    return base


def steps_between(start: Tensor, end: Tensor) -> Tensor:
    """Steps from each element of `start` to that of `end`, as integers of the same width, wrapping around.

    Args:
        start: any shape and dtype of 1, 2, 4 or 8 bytes.
        end: the same shape and dtype.
    """
    integers = _INTEGERS[end.element_size()]
    steps = torch.empty(end.shape, dtype=integers)
    chunks = zip(_chunks(steps), _chunks(start.contiguous()), _chunks(end.contiguous()), strict=True)
    for out, a, b in chunks:
        torch.sub(_ordered(b.view(integers), b.dtype), _ordered(a.view(integers), a.dtype), out=out)
    return steps


def after_steps(start: Tensor, steps: Tensor) -> Tensor:
    """The tensor that `steps_between(start, tensor)` counted to; dtype and shape of `start`."""
    end = torch.empty(start.shape, dtype=start.dtype)
    for out, a, n in zip(_chunks(end), _chunks(start.contiguous()), _chunks(steps.contiguous()), strict=True):
        out.view(steps.dtype).copy_(_ordered(_ordered(a.view(steps.dtype), a.dtype) + n, a.dtype))
    return end


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors of one dtype and shape agree in every bit."""
    integers = _INTEGERS[a.element_size()]
    return torch.equal(a.contiguous().view(integers), b.contiguous().view(integers))


def _chunks(tensor: Tensor) -> tuple[Tensor, ...]:
    return tensor.reshape(-1).split(_CHUNK)


def _ordered(bits: Tensor, dtype: torch.dtype) -> Tensor:
    """Bit patterns of floats to places in their order, and places to bit patterns: it is its own inverse.

    Floats are sign and magnitude: read as integers, the negative ones run backwards. Flipping their magnitude turns them round.
    """
    if not dtype.is_floating_point:
        return bits
    limits = torch.iinfo(bits.dtype)
    return bits ^ ((bits >> (limits.bits - 1)) & limits.max)
