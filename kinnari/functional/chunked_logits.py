"""Logits of a linear output head, one chunk of tokens at a time, and the way back: what the losses over a large vocabulary share.

    z = softcap(logit_scale * (hidden @ weight.T + bias))

Notation: N tokens, n of them in a chunk, H hidden size, V vocabulary.
"""

import torch
from torch import Tensor

CHUNK_BYTES = 256 * 2**20
"""Bytes one chunk of float32 logits may take: 262 tokens at V = 256,008. Every chunk reads and writes the whole [V, H]
weight gradient, so smaller ones cost time: 1024 tokens at H = 256 on two CPU threads took 7.4 s in chunks of 32, 4.5 s
of 128, 4.0 s of 262 and 3.5 s of 512."""


def default_chunk_size(vocab_size: int, *, softcap: float | None = None, entropy: bool = False) -> int:
    """Tokens in one chunk such that its float32 logits take `CHUNK_BYTES` at most.

    A softcap needs its tanh again for the gradient and an entropy its terms, each a further tensor of that size.
    """
    tensors = 1 + (softcap is not None) + entropy
    return max(1, CHUNK_BYTES // (4 * vocab_size * tensors))


def chunk_buffers(hidden: Tensor, weight: Tensor, dtype: torch.dtype, chunk_size: int) -> tuple[Tensor, Tensor]:
    """Two [min(chunk_size, N), V] tensors that every chunk uses again: one for the matrix products in their `dtype`, and
    one for the float32 arithmetic between them. They are one and the same where the products are in 32 (or 64) bits.
    """
    shape = (min(chunk_size, hidden.shape[0]), weight.shape[0])
    product = torch.empty(shape, dtype=dtype, device=hidden.device)
    exact = loss_dtype(dtype)
    return product, product if exact == dtype else torch.empty(shape, dtype=exact, device=hidden.device)


def chunk_logits(part: Tensor, weight: Tensor, bias: Tensor | None, product: Tensor, z: Tensor) -> Tensor:
    """Logits of one chunk, [n, V] float32 (or float64), in `z`."""
    torch.mm(part, weight.t(), out=product)
    if z.dtype != product.dtype:
        z.copy_(product)
    return z if bias is None else z.add_(bias)


def scale_and_cap_(z: Tensor, logit_scale: float, softcap: float | None, *, keep_slope: bool) -> Tensor | None:
    """Scale and cap `z` in place; returns d capped / d scaled = 1 - tanh², [n, V], None where it is 1 or not wanted."""
    if logit_scale != 1.0:
        z.mul_(logit_scale)
    if softcap is None:
        return None
    z.div_(softcap).tanh_()
    slope = z.square().neg_().add_(1.0) if keep_slope else None
    z.mul_(softcap)
    return slope


def add_gradients(
    gradient: Tensor,
    logit_scale: float,
    part: Tensor,
    weight: Tensor,
    rows: slice,
    gradients: tuple[Tensor | None, Tensor | None, Tensor | None],
) -> None:
    """Gradient of the scaled logits [n, V] -> this chunk's rows of the hidden gradient and its share of the weight gradient.

    Args:
        part: [n, H] rows of the hidden states, in the dtype of the products as `weight` [V, H] and `gradient` are.
        gradients: buffers for hidden [N, H], weight [V, H] and bias (not touched here), None where not wanted.
    """
    for_hidden, for_weight, _ = gradients
    if for_hidden is not None:
        for_hidden[rows] = torch.mm(gradient, weight).mul_(logit_scale)
    if for_weight is None:
        return
    if for_weight.dtype == gradient.dtype:
        for_weight.addmm_(gradient.t(), part, alpha=logit_scale)
    else:  # sums over chunks stay in float32, as one product over all tokens would keep them
        for_weight.add_(torch.mm(gradient.t(), part), alpha=logit_scale)


def matmul_dtype(hidden: Tensor, weight: Tensor) -> torch.dtype:
    """Autocast's dtype inside autocast (which leaves float64 alone), else the lower of the two."""
    device = hidden.device.type
    if torch.is_autocast_enabled(device) and torch.float64 not in (hidden.dtype, weight.dtype):
        return torch.get_autocast_dtype(device)
    return min(hidden.dtype, weight.dtype, key=lambda dtype: dtype.itemsize)


def loss_dtype(matmul_dtype: torch.dtype) -> torch.dtype:
    """float32, or float64 where the products are."""
    return torch.promote_types(matmul_dtype, torch.float32)


def check_shapes(hidden: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None) -> None:
    """Raises ValueError unless hidden is [N, H], weight [V, H], targets [N] and bias [V] or None."""
    if hidden.dim() != 2 or weight.dim() != 2 or hidden.shape[1] != weight.shape[1]:
        raise ValueError(
            f"hidden is {tuple(hidden.shape)} and weight {tuple(weight.shape)}: [N, H] and [V, H] are needed; flatten the batch first"
        )
    if targets.shape != hidden.shape[:1]:
        raise ValueError(f"targets is {tuple(targets.shape)} for hidden {tuple(hidden.shape)}: one target a row is needed, [N]")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias is {tuple(bias.shape)} for weight {tuple(weight.shape)}: [V] is needed")
