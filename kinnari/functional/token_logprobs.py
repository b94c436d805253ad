"""Log-probability and entropy of every token under a linear output head, without the logits of more than one chunk of tokens.

What policies are compared by: PPO and DPO need the numbers token by token, where the loss of fine-tuning (`linear_cross_entropy`) needs
their sum. Each token then has a gradient factor of its own, known only in the backward:

    z = softcap(logit_scale * (hidden @ weight.T + bias)) / temperature,   p = softmax(z)
    log p(target) = z[target] - logsumexp(z)          d log p(target) / d z = onehot(target) - p
    entropy = -sum p log p                            d entropy / d z      = -p (log p + entropy)

So the backward computes the logits again, chunk by chunk. Where nothing but `hidden` is trained (LoRA) and the entropy is only looked
at, the factor of a token scales its own row of the gradient and no other: there the rows are made in the forward, and one of three
matrix products is saved.

Notation: N tokens, H hidden size, V vocabulary.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
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


class TokenLogprobs(NamedTuple):
    """What a language-model head has to say about each of its targets; float32 (float64 for float64 input)."""

    logprobs: Tensor
    """[N] nats: log p(target)."""
    entropy: Tensor
    """[N] nats: entropy of the distribution that the target was drawn from; empty [0] where not asked for."""


class _Head(NamedTuple):
    """What stands between hidden states and the distribution."""

    chunk_size: int
    softcap: float | None
    logit_scale: float
    temperature: float


def token_logprobs(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    temperature: float = 1.0,
    entropy: bool = False,
    entropy_gradient: bool = False,
    chunk_size: int | None = None,
    softcap: float | None = None,
    logit_scale: float = 1.0,
) -> TokenLogprobs:
    """log p(target) of each row of `hidden` under `softmax(hidden @ weight.T / temperature)`, differentiable.

    No token (N = 0) gives empty tensors whose backward hands out zero gradients, so that collectives hanging on it still run.

    Args:
        hidden: [N, H] floating; select the wanted positions before.
        weight: [V, H] floating, dtypes as in `linear_cross_entropy`.
        targets: [N] int64 in [0, V).
        bias: [V] or None.
        temperature: what sampling divided its logits by; above 0.
        entropy: compute the entropy too.
        entropy_gradient: the entropy carries a gradient (for an entropy bonus); without it, it is a number to look at.
        chunk_size: tokens a chunk; None takes `default_chunk_size`.
        softcap: z = softcap * tanh(z / softcap), before the temperature; None for none.
        logit_scale: factor on the logits, before the softcap.

    Raises:
        ValueError: shapes that do not belong together, a chunk_size below 1, or a temperature that is not above 0.
    """
    check_shapes(hidden, weight, targets, bias)
    if not temperature > 0:
        raise ValueError(f"temperature={temperature}: greedy choice has no log-probabilities; give a number above 0")
    if chunk_size is None:
        chunk_size = default_chunk_size(weight.shape[0], softcap=softcap, entropy=entropy)
    if chunk_size < 1:
        raise ValueError(f"chunk_size={chunk_size}: a chunk holds at least one token; pass None for the default")
    head = _Head(chunk_size, softcap, logit_scale, temperature)
    wanted = (entropy, entropy and entropy_gradient, torch.is_grad_enabled())
    return TokenLogprobs(*_TokenLogprobs.apply(hidden, weight, bias, targets, matmul_dtype(hidden, weight), head, wanted))


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden, weight, bias, targets, dtype, head, wanted):
        entropy, entropy_gradient, grad_enabled = wanted
        ahead = grad_enabled and ctx.needs_input_grad[:3] == (True, False, False) and not entropy_gradient
        exact = loss_dtype(dtype)
        logprobs = torch.empty(hidden.shape[0], dtype=exact, device=hidden.device)
        entropies = torch.empty(hidden.shape[0] if entropy else 0, dtype=exact, device=hidden.device)
        rows_ahead = torch.empty_like(hidden) if ahead else None
        for chunk in _chunks(hidden, weight, bias, dtype, head, keep_slope=ahead):
            target = targets[chunk.rows, None]
            top = chunk.z.argmax(dim=-1, keepdim=True)
            top_logit, target_logit = chunk.z.gather(1, top), chunk.z.gather(1, target)
            p = torch.softmax(chunk.z, dim=-1, out=chunk.z)
            # p of the maximum is 1 / V at least, so log-sum-exp needs no further pass over [n, V]
            logprobs[chunk.rows] = (target_logit - top_logit + p.gather(1, top).log_()).squeeze(1)
            if entropy:
                entropies[chunk.rows] = torch.special.entr(p).sum(-1)
            if ahead:
                ones = torch.ones_like(target, dtype=exact)
                _push(_logit_gradient(p, target, ones, None), chunk, head, (rows_ahead, None, None))
        if not entropy_gradient:
            ctx.mark_non_differentiable(entropies)
        ctx.set_materialize_grads(False)
        # the parameter itself, not a detached view: a strategy that empties it after the forward fills it again before the backward
        ctx.save_for_backward(rows_ahead) if ahead else ctx.save_for_backward(hidden, weight, bias, targets)
        ctx.ahead, ctx.dtype, ctx.head = ahead, dtype, head
        return logprobs, entropies

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_logprobs, grad_entropy):
        nothing = (None,) * 4
        if ctx.ahead:
            (rows,) = ctx.saved_tensors
            return None if grad_logprobs is None else rows * grad_logprobs[:, None].to(rows.dtype), None, None, *nothing
        hidden, weight, bias, targets = ctx.saved_tensors
        exact = loss_dtype(ctx.dtype)
        if grad_logprobs is None:
            grad_logprobs = torch.zeros(hidden.shape[0], dtype=exact, device=hidden.device)
        for_hidden, for_weight, for_bias = ctx.needs_input_grad[:3]
        gradients = (
            torch.empty_like(hidden) if for_hidden else None,
            torch.zeros_like(weight, dtype=exact) if for_weight else None,
            torch.zeros_like(bias, dtype=exact) if for_bias else None,
        )
        for chunk in _chunks(hidden, weight, bias, ctx.dtype, ctx.head, keep_slope=True):
            p = torch.softmax(chunk.z, dim=-1, out=chunk.z)
            of_entropy = None if grad_entropy is None else grad_entropy[chunk.rows, None]
            _push(_logit_gradient(p, targets[chunk.rows, None], grad_logprobs[chunk.rows, None], of_entropy), chunk, ctx.head, gradients)
        originals = (hidden, weight, bias)
        return *(None if g is None else g.to(t.dtype) for g, t in zip(gradients, originals, strict=True)), *nothing


class _Chunk(NamedTuple):
    rows: slice
    part: Tensor
    """[n, H] hidden states in the dtype of the products."""
    weight: Tensor
    """[V, H] in that dtype."""
    product: Tensor
    """[n, V] buffer in that dtype."""
    z: Tensor
    """[n, V] logits, float32 or float64: scaled, capped, divided by the temperature."""
    slope: Tensor | None
    """[n, V] d capped / d scaled, None where it is 1."""


def _chunks(hidden: Tensor, weight: Tensor, bias: Tensor | None, dtype: torch.dtype, head: _Head, *, keep_slope: bool) -> Iterator[_Chunk]:
    weight_cast = weight.detach().to(dtype)  # once: a cast reads all of [V, H]
    bias_cast = None if bias is None else bias.detach().to(loss_dtype(dtype))
    product_all, z_all = chunk_buffers(hidden, weight, dtype, head.chunk_size)
    for start in range(0, hidden.shape[0], head.chunk_size):
        rows = slice(start, start + head.chunk_size)
        with torch.autocast(hidden.device.type, enabled=False):  # dtypes are decided by the caller
            part = hidden[rows].detach().to(dtype)
            product = product_all[: len(part)]
            z = chunk_logits(part, weight_cast, bias_cast, product, z_all[: len(part)])
        slope = scale_and_cap_(z, head.logit_scale, head.softcap, keep_slope=keep_slope)
        if head.temperature != 1.0:
            z.div_(head.temperature)
        yield _Chunk(rows, part, weight_cast, product, z, slope)


def _logit_gradient(p: Tensor, target: Tensor, of_logprob: Tensor, of_entropy: Tensor | None) -> Tensor:
    """Probabilities [n, V] -> gradient of the loss for z, in place.

    Args:
        target: [n, 1] int64.
        of_logprob: [n, 1] gradient of the loss for log p(target).
        of_entropy: [n, 1] the same for the entropy, or None.
    """
    if of_entropy is None:
        p.mul_(-of_logprob)
    else:
        terms = torch.special.entr(p)  # -p log p, and 0 where p is
        entropy = terms.sum(-1, keepdim=True)
        p.mul_(-(of_logprob + of_entropy * entropy)).add_(terms.mul_(of_entropy))
    return p.scatter_add_(1, target, of_logprob.to(p.dtype))


def _push(gradient: Tensor, chunk: _Chunk, head: _Head, gradients: tuple[Tensor | None, Tensor | None, Tensor | None]) -> None:
    """Gradient for z of one chunk -> its rows of the hidden gradient, its share of those of weight and bias."""
    factor = head.logit_scale / head.temperature
    if chunk.slope is not None:
        gradient.mul_(chunk.slope)
    if gradients[2] is not None:
        gradients[2].add_(gradient.sum(dim=0), alpha=factor)
    gradient = gradient if gradient.dtype == chunk.product.dtype else chunk.product.copy_(gradient)
    with torch.autocast(gradient.device.type, enabled=False):
        add_gradients(gradient, factor, chunk.part, chunk.weight, chunk.rows, gradients)
