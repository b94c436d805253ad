"""The low-rank update of a linear layer with cheap dropout, and without the float32 copies an ordinary graph keeps of it.

    y = base(x) + scaling * dropout(x) A^T B^T          (LoRA, arXiv:2106.09685, section 4.1)

Written with torch's own operations in mixed precision, each adapted layer keeps two tensors of the size of x in float32
(the dropout's noise, and x cast for A) and one in bfloat16, and draws one random number an element, which on a CPU takes longer
than the products. Here x is kept once, as the dtype it came in, and the dropout as one byte an element; one 64-bit draw
decides four of them.

Notation: N tokens, I input size, O output size, r rank.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_DRAWS = 2**16
"""Dropout probabilities are whole multiples of 1 / 65536; 0.05 becomes 0.0500031."""


def lora_update(base: Tensor, x: Tensor, a: Tensor, b: Tensor, scaling: float, dropout: float = 0.0) -> Tensor:
    """`base + scaling * dropout(x) @ a.T @ b.T`, in the dtype of `base`; the gradients of `a` and `b` come in their own dtype.

    Args:
        base: [..., O], output of the frozen layer. It is overwritten.
        x: [..., I], input of the layer.
        a: [r, I], the first factor.
        b: [O, r], the second factor.
        scaling: alpha / r.
        dropout: probability of dropping an element of x; 0 in evaluation.
    """
    dtype = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else base.dtype
    return _LoraUpdate.apply(base, x, a, b, scaling, dropout, dtype)


class _LoraUpdate(torch.autograd.Function):
    @staticmethod
    def forward(ctx, base, x, a, b, scaling, dropout, dtype):
        keep = keep_mask(x, dropout) if dropout else None
        # kept as it came: the layers that read one input then keep one tensor between them
        part = dropped(x.to(dtype), keep).reshape(-1, x.shape[-1])
        low = part @ a.to(dtype).t()
        factor = scaling / (1.0 - dropout)
        low = low.mul_(factor)
        update = low @ b.to(dtype).t()
        base.add_(update.view(base.shape))
        ctx.save_for_backward(x, keep, low, a, b)
        ctx.factor, ctx.dtype = factor, dtype
        ctx.mark_dirty(base)
        return base

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, keep, low, a, b = ctx.saved_tensors
        needs_x, needs_a, needs_b = ctx.needs_input_grad[1:4]
        rows = grad.reshape(-1, grad.shape[-1]).to(ctx.dtype)
        grad_low = (rows @ b.to(ctx.dtype)).mul_(ctx.factor)
        grad_b = (low.t() @ rows).t().to(b.dtype) if needs_b else None
        grad_a = None
        if needs_a:
            part = dropped(x.to(ctx.dtype), keep).reshape(-1, x.shape[-1])
            grad_a = (grad_low.t() @ part).to(a.dtype)
        grad_x = None
        if needs_x:
            grad_x = dropped((grad_low @ a.to(ctx.dtype)).view(x.shape), keep).to(x.dtype)
        return grad, grad_x, grad_a, grad_b, None, None, None


def keep_mask(x: Tensor, dropout: float) -> Tensor:
    """[like x] bool, False with probability `dropout`, from torch's generator of the device."""
    lowest = -(2**63)
    draws = torch.empty((x.numel() + 3) // 4, dtype=torch.int64, device=x.device).random_(lowest, None)
    return (draws.view(torch.int16)[: x.numel()] >= round(dropout * _DRAWS) - _DRAWS // 2).view(x.shape)


def dropped(x: Tensor, keep: Tensor | None) -> Tensor:
    """`x` with zeros where `keep` is False, unscaled; x itself without a mask. Not differentiable."""
    if keep is None:
        return x
    if x.element_size() == 2:
        # all bits of kept elements and none of the others: 8 times as fast as a product with a bool on a CPU (torch 2.13)
        return (x.view(torch.int16) & keep.to(torch.int16).neg_()).view(x.dtype)
    return x * keep
