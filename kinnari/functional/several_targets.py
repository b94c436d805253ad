"""Log-probabilities of several targets at one position, as branches of a tree and the letters of a multiple choice ask for them.

The logits of a position are computed once however many of its targets are wanted, in chunks as in `token_logprobs`. No gradients.
"""

import torch
from torch import Tensor

from kinnari.functional.chunked_logits import (
    check_shapes,
    chunk_buffers,
    chunk_logits,
    default_chunk_size,
    loss_dtype,
    matmul_dtype,
    scale_and_cap_,
)


@torch.no_grad()
def several_logprobs(
    hidden: Tensor,
    weight: Tensor,
    owners: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    softcap: float | None = None,
    logit_scale: float = 1.0,
    chunk_size: int | None = None,
) -> Tensor:
    """log p(targets[i]) under the distribution that row `owners[i]` of `hidden` stands for.

    Args:
        hidden: [N, H] floating.
        weight: [V, H] floating, dtypes as in `linear_cross_entropy`.
        owners: [M] int64 in [0, N).
        targets: [M] int64 in [0, V).
        bias: [V] or None.
        softcap, logit_scale: what the model does to its logits, see `token_logprobs`.
        chunk_size: rows a chunk; None takes `default_chunk_size`.

    Returns:
        [M] nats, float32 (float64 for float64 input).

    Raises:
        ValueError: shapes that do not belong together.
    """
    check_shapes(hidden, weight, hidden.new_empty(hidden.shape[:1]), bias)
    if owners.shape != targets.shape or owners.dim() != 1:
        raise ValueError(f"owners are {tuple(owners.shape)} and targets {tuple(targets.shape)}: one row for every target is needed, [M]")
    dtype = matmul_dtype(hidden, weight)
    found = torch.empty(owners.shape, dtype=loss_dtype(dtype), device=hidden.device)
    chunk_size = chunk_size or default_chunk_size(weight.shape[0])
    weight_cast, bias_cast = weight.to(dtype), None if bias is None else bias.to(loss_dtype(dtype))
    product_all, z_all = chunk_buffers(hidden, weight, dtype, chunk_size)
    for start in range(0, hidden.shape[0], chunk_size):
        with torch.autocast(hidden.device.type, enabled=False):
            part = hidden[start : start + chunk_size].to(dtype)
            z = chunk_logits(part, weight_cast, bias_cast, product_all[: len(part)], z_all[: len(part)])
        scale_and_cap_(z, logit_scale, softcap, keep_slope=False)
        of_chunk = ((owners >= start) & (owners < start + len(part))).nonzero().squeeze(1)
        rows = owners[of_chunk] - start
        top = z.argmax(dim=-1, keepdim=True)
        picked = z[rows, targets[of_chunk]] - z.gather(1, top)[rows, 0]
        # p of the maximum is 1 / V at least, so its logarithm is exact where that of a target may have no number
        found[of_chunk] = picked + torch.softmax(z, dim=-1, out=z).gather(1, top).log_()[rows, 0]
    return found
