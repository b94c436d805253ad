"""Cross entropy of a linear output head without ever holding the logits of more than one chunk of tokens.

The logits of 4096 tokens over a vocabulary of 256,008 are 4.2 GB in float32, and a textbook loss keeps two or three
tensors of that size. Here each chunk's logits become its share of the loss *and* of the gradients at once, then their
memory is used again:

    z = softcap(logit_scale * (hidden @ weight.T + bias)),   nll = logsumexp(z) - z[target]
    d nll / d z = softmax(z) - onehot(target)

Source: "Cut Your Losses in Large-Vocabulary Language Models", arXiv:2411.09009 (the problem, and the bound by memory);
linkedin/Liger-Kernel, arXiv:2410.10989, section 3.2 (gradients computed in the forward, chunk by chunk).

Notation: N tokens, H hidden size, V vocabulary.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from kinnari.functional.chunked_logits import (
    add_gradients,
    check_shapes,
    chunk_buffers,
    chunk_logits,
    default_chunk_size,
    loss_dtype,
    matmul_dtype,
    scale_and_cap_,
)


class LinearCrossEntropy(NamedTuple):
    """What a language-model head has to say about its targets."""

    nll_sum: Tensor
    """[] float32 (float64 for float64 input), nats: sum over the tokens of -log p(target); carries the gradient."""
    correct: Tensor
    """[] int64: tokens whose most probable word is the target (the first one where several are equal); no gradient."""


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    chunk_size: int | None = None,
    softcap: float | None = None,
    logit_scale: float = 1.0,
) -> LinearCrossEntropy:
    """Summed cross entropy of `hidden @ weight.T` against `targets`, chunk by chunk.

    Gradients are computed in the forward, and only those that are asked for: a frozen weight costs no weight gradient,
    and under `torch.no_grad` there are none at all. The weight gradient is summed in float32 and handed over in the
    dtype of the weight. No token (N = 0) gives the loss 0 with zero gradients, so that collectives hanging on the
    backward still run on this rank.

    Args:
        hidden: [N, H] floating; every row is a trained token (select them before: untrained rows would be multiplied in
            vain).
        weight: [V, H] floating. Where its dtype differs from that of `hidden` (float32 master weights, bfloat16
            activations) the matrix products run in the lower of the two, or in autocast's dtype; log-sum-exp is float32
            in any case.
        targets: [N] int64 in [0, V).
        bias: [V] or None.
        chunk_size: tokens a chunk; None takes `default_chunk_size`.
        softcap: z = softcap * tanh(z / softcap), as Gemma 2 does (arXiv:2408.00118, section 2); None for none.
        logit_scale: factor on the logits, before the softcap (Cohere's logit_scale, 1 / Granite's logits_scaling).

    Raises:
        ValueError: shapes that do not belong together, or a chunk_size below 1.
    """
    check_shapes(hidden, weight, targets, bias)
    chunk_size = default_chunk_size(weight.shape[0], softcap=softcap) if chunk_size is None else chunk_size
    if chunk_size < 1:
        raise ValueError(f"chunk_size={chunk_size}: a chunk holds at least one token; pass None for the default")
    dtype = matmul_dtype(hidden, weight)
    needs_grad = torch.is_grad_enabled()  # inside a Function the inputs no longer tell: no_grad leaves needs_input_grad true
    nll_sum, correct = _ChunkedCrossEntropy.apply(hidden, weight, bias, targets, dtype, chunk_size, softcap, logit_scale, needs_grad)
    return LinearCrossEntropy(nll_sum, correct)


def plain_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    chunk_size: int | None = None,
    softcap: float | None = None,
    logit_scale: float = 1.0,
) -> LinearCrossEntropy:
    """The same numbers from full [N, V] logits and autograd: the reference for `linear_cross_entropy`.

    The arguments are the same, so that the two can stand in for each other; `chunk_size` has nothing to act on here.
    """
    check_shapes(hidden, weight, targets, bias)
    dtype = matmul_dtype(hidden, weight)
    logits = F.linear(hidden.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype))
    logits = logits.to(loss_dtype(dtype))
    if logit_scale != 1.0:
        logits = logits * logit_scale
    if softcap is not None:
        logits = torch.tanh(logits / softcap) * softcap
    correct = (logits.detach().argmax(dim=-1) == targets).sum()
    return LinearCrossEntropy(F.cross_entropy(logits, targets, reduction="sum"), correct)


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden, weight, bias, targets, dtype, chunk_size, softcap, logit_scale, needs_grad):
        for_hidden, for_weight, for_bias = (needs_grad and needed for needed in ctx.needs_input_grad[:3])
        with torch.autocast(hidden.device.type, enabled=False):  # dtypes are decided here, once
            weight_cast = weight.detach().to(dtype)  # once a call: a cast reads all of [V, H]
            bias_cast = None if bias is None else bias.detach().to(loss_dtype(dtype))
            gradients = (
                torch.empty_like(hidden) if for_hidden else None,
                torch.zeros_like(weight, dtype=loss_dtype(dtype)) if for_weight else None,
                torch.zeros_like(bias, dtype=loss_dtype(dtype)) if for_bias else None,
            )
            nll_sum = torch.zeros((), dtype=loss_dtype(dtype), device=hidden.device)
            correct = torch.zeros((), dtype=torch.int64, device=hidden.device)
            product, z_all = chunk_buffers(hidden, weight, dtype, chunk_size)
            for start in range(0, hidden.shape[0], chunk_size):
                rows = slice(start, start + chunk_size)
                part = hidden[rows].detach().to(dtype)
                z = chunk_logits(part, weight_cast, bias_cast, product[: len(part)], z_all[: len(part)])
                slope = scale_and_cap_(z, logit_scale, softcap, keep_slope=any(g is not None for g in gradients))
                nll, hits = _softmax_(z, targets[rows])
                nll_sum += nll.sum()
                correct += hits.sum()
                if any(gradient is not None for gradient in gradients):
                    z = _logit_gradient_(z, slope, targets[rows], gradients[2], logit_scale)
                    z = z if z.dtype == dtype else product[: len(part)].copy_(z)
                    add_gradients(z, logit_scale, part, weight_cast, rows, gradients)
        ctx.has_gradient = tuple(gradient is not None for gradient in gradients)
        originals = (hidden, weight, bias)
        kept = [g.to(t.dtype) for g, t in zip(gradients, originals, strict=True) if g is not None]
        ctx.save_for_backward(*kept)
        ctx.mark_non_differentiable(correct)
        return nll_sum, correct

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_nll_sum, _grad_correct):
        # The gradients of the forward times the factor from above. In place, because a second [V, H] tensor would be
        # the peak of the whole step; out of place where the graph is kept and may be walked again. torch (2.13) tells
        # which only through this private name, the one its own AOTAutograd asks before it reuses saved buffers.
        keep_graph = torch._C._autograd._get_current_graph_task_keep_graph()
        saved = iter(ctx.saved_tensors)
        gradients = []
        for present in ctx.has_gradient:
            gradient = next(saved) if present else None
            if gradient is not None:
                factor = grad_nll_sum.to(gradient.dtype)
                gradient = gradient * factor if keep_graph else gradient.mul_(factor)
            gradients.append(gradient)
        return *gradients, None, None, None, None, None, None


def _softmax_(z: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Turn logits [n, V] into probabilities in place; returns nll [n] and whether the first maximum is the target [n].

    Two passes over [n, V] give everything: argmax reads it, softmax rewrites it. The log-sum-exp needs no third one,
    since the probability of the maximum is exp(max - lse), at least 1 / V and so never 0: lse = max - log p(max).
    """
    top = z.argmax(dim=-1, keepdim=True)
    top_logit, target_logit = z.gather(1, top), z.gather(1, targets[:, None])
    torch.softmax(z, dim=-1, out=z)  # each row is reduced before it is written: equal to the copy bit for bit (tested)
    nll = top_logit - z.gather(1, top).log_() - target_logit
    return nll.squeeze(1), top.squeeze(1) == targets


def _logit_gradient_(z, slope, targets, for_bias, logit_scale) -> Tensor:
    """Probabilities `z` [n, V] -> d nll / d (scaled logits) in place, summed into the bias gradient on the way."""
    z[torch.arange(z.shape[0], device=z.device), targets] -= 1.0
    if slope is not None:
        z.mul_(slope)
    if for_bias is not None:
        for_bias.add_(z.sum(dim=0), alpha=logit_scale)
    return z
