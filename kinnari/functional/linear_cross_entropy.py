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

CHUNK_BYTES = 256 * 2**20
"""Bytes one chunk of float32 logits may take: 262 tokens at V = 256,008. Every chunk reads and writes the whole [V, H]
weight gradient, so smaller ones cost time: 1024 tokens at H = 256 on two CPU threads took 7.4 s in chunks of 32, 4.5 s
of 128, 4.0 s of 262 and 3.5 s of 512."""


class LinearCrossEntropy(NamedTuple):
    """What a language-model head has to say about its targets."""

    nll_sum: Tensor
    """[] float32 (float64 for float64 input), nats: sum over the tokens of -log p(target); carries the gradient."""
    correct: Tensor
    """[] int64: tokens whose most probable word is the target (the first one where several are equal); no gradient."""


def default_chunk_size(vocab_size: int, *, softcap: float | None = None) -> int:
    """Tokens in one chunk such that its float32 logits take `CHUNK_BYTES` at most.

    A softcap needs its tanh again for the gradient, a second tensor of that size, so its chunks are half as long.
    """
    tensors = 1 if softcap is None else 2
    return max(1, CHUNK_BYTES // (4 * vocab_size * tensors))


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
    _check_shapes(hidden, weight, targets, bias)
    chunk_size = default_chunk_size(weight.shape[0], softcap=softcap) if chunk_size is None else chunk_size
    if chunk_size < 1:
        raise ValueError(f"chunk_size={chunk_size}: a chunk holds at least one token; pass None for the default")
    dtype = _matmul_dtype(hidden, weight)
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
    _check_shapes(hidden, weight, targets, bias)
    dtype = _matmul_dtype(hidden, weight)
    logits = F.linear(hidden.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype))
    logits = logits.to(_loss_dtype(dtype))
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
            bias_cast = None if bias is None else bias.detach().to(_loss_dtype(dtype))
            gradients = (
                torch.empty_like(hidden) if for_hidden else None,
                torch.zeros_like(weight, dtype=_loss_dtype(dtype)) if for_weight else None,
                torch.zeros_like(bias, dtype=_loss_dtype(dtype)) if for_bias else None,
            )
            nll_sum = torch.zeros((), dtype=_loss_dtype(dtype), device=hidden.device)
            correct = torch.zeros((), dtype=torch.int64, device=hidden.device)
            product, z_all = _chunk_buffers(hidden, weight, dtype, chunk_size)
            for start in range(0, hidden.shape[0], chunk_size):
                rows = slice(start, start + chunk_size)
                part = hidden[rows].detach().to(dtype)
                z = _logits(part, weight_cast, bias_cast, product[: len(part)], z_all[: len(part)])
                slope = _scale_and_cap_(z, logit_scale, softcap, keep_slope=any(g is not None for g in gradients))
                nll, hits = _softmax_(z, targets[rows])
                nll_sum += nll.sum()
                correct += hits.sum()
                if any(gradient is not None for gradient in gradients):
                    z = _logit_gradient_(z, slope, targets[rows], gradients[2], logit_scale)
                    z = z if z.dtype == dtype else product[: len(part)].copy_(z)
                    _add_gradients(z, logit_scale, part, weight_cast, rows, gradients)
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


def _chunk_buffers(hidden: Tensor, weight: Tensor, dtype: torch.dtype, chunk_size: int) -> tuple[Tensor, Tensor]:
    """Two [min(chunk_size, N), V] tensors that every chunk uses again: one for the matrix products in their `dtype`, and
    one for the float32 arithmetic between them. They are one and the same where the products are in 32 (or 64) bits.
    """
    shape = (min(chunk_size, hidden.shape[0]), weight.shape[0])
    product = torch.empty(shape, dtype=dtype, device=hidden.device)
    exact = _loss_dtype(dtype)
    return product, product if exact == dtype else torch.empty(shape, dtype=exact, device=hidden.device)


def _logits(part: Tensor, weight: Tensor, bias: Tensor | None, product: Tensor, z: Tensor) -> Tensor:
    """Logits of one chunk, [n, V] float32 (or float64), in `z`."""
    torch.mm(part, weight.t(), out=product)
    if z.dtype != product.dtype:
        z.copy_(product)
    return z if bias is None else z.add_(bias)


def _scale_and_cap_(z: Tensor, logit_scale: float, softcap: float | None, *, keep_slope: bool) -> Tensor | None:
    """Scale and cap `z` in place; returns d capped / d scaled = 1 - tanh², [n, V], None where it is 1 or not wanted."""
    if logit_scale != 1.0:
        z.mul_(logit_scale)
    if softcap is None:
        return None
    z.div_(softcap).tanh_()
    slope = z.square().neg_().add_(1.0) if keep_slope else None
    z.mul_(softcap)
    return slope


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


def _add_gradients(gradient, logit_scale, part, weight, rows, gradients) -> None:
    """d nll / d logits [n, V] -> this chunk's rows of the hidden gradient and its share of the weight gradient."""
    for_hidden, for_weight, _ = gradients
    if for_hidden is not None:
        for_hidden[rows] = torch.mm(gradient, weight).mul_(logit_scale)
    if for_weight is None:
        return
    if for_weight.dtype == gradient.dtype:
        for_weight.addmm_(gradient.t(), part, alpha=logit_scale)
    else:  # sums over chunks stay in float32, as one product over all tokens would keep them
        for_weight.add_(torch.mm(gradient.t(), part), alpha=logit_scale)


def _matmul_dtype(hidden: Tensor, weight: Tensor) -> torch.dtype:
    """Autocast's dtype inside autocast (which leaves float64 alone), else the lower of the two."""
    device = hidden.device.type
    if torch.is_autocast_enabled(device) and torch.float64 not in (hidden.dtype, weight.dtype):
        return torch.get_autocast_dtype(device)
    return min(hidden.dtype, weight.dtype, key=lambda dtype: dtype.itemsize)


def _loss_dtype(matmul_dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(matmul_dtype, torch.float32)


def _check_shapes(hidden: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None) -> None:
    if hidden.dim() != 2 or weight.dim() != 2 or hidden.shape[1] != weight.shape[1]:
        raise ValueError(
            f"hidden is {tuple(hidden.shape)} and weight {tuple(weight.shape)}: [N, H] and [V, H] are needed; flatten the batch first"
        )
    if targets.shape != hidden.shape[:1]:
        raise ValueError(f"targets is {tuple(targets.shape)} for hidden {tuple(hidden.shape)}: one target a row is needed, [N]")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias is {tuple(bias.shape)} for weight {tuple(weight.shape)}: [V] is needed")
