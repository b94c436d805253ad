"""Scaled dot-product attention with memory linear in the length, dropout included."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint
from transformers.integrations.sdpa_attention import sdpa_attention_forward

BLOCK = 128  # queries attended at once on the CPU, where a mask or dropout asks for it


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    *,
    dropout: float,
    scaling: float,
) -> Tensor:
    """softmax(query @ key * scaling + mask) @ value.

    On the CPU queries are attended in blocks where that helps. With a mask, a block leaves out the keys that none of its queries sees:
    in packed rows most of them. With dropout, which torch's CPU kernel does not know (2.13: it would store every score, as eager
    attention does), the backward pass computes a block's scores again.

    Args:
        query: [B, H, Q, D].
        key: [B, H, K, D].
        value: [B, H, K, D].
        mask: [B, 1 or H, Q, K] bool (True may be seen) or float (added to the scores); None is causal. A query that sees no key
            gets zeros.
        dropout: probability that a weight becomes zero; 0 outside training.

    Returns:
        [B, Q, H, D].
    """
    masked = mask is not None and query.shape[2] > BLOCK
    if query.device.type == "cpu" and (masked or (dropout > 0 and query.shape[2] == key.shape[2])):
        return _attend_in_blocks(query, key, value, mask, dropout, scaling).transpose(1, 2)
    return sdpa_attention_forward(module, query, key, value, mask, dropout=dropout, scaling=scaling, is_causal=True)[0]


def _attend_in_blocks(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float, scaling: float) -> Tensor:
    blocks = []
    for start in range(0, query.shape[2], BLOCK):
        stop = min(start + BLOCK, query.shape[2])
        part = _causal_rows(start, stop) if mask is None else mask[:, :, start:stop]
        first, last = _visible_keys(part)
        inputs = query[:, :, start:stop], key[:, :, first:last], value[:, :, first:last], part[..., first:last]
        options: dict[str, Any] = {"dropout_p": dropout, "scale": scaling}
        if dropout > 0:  # checkpoint keeps the generator's state: the backward pass drops the same weights
            blocks.append(checkpoint(scaled_dot_product_attention, *inputs, **options, use_reentrant=False))
        else:
            blocks.append(scaled_dot_product_attention(*inputs, **options))
    return torch.cat(blocks, dim=2)


def _causal_rows(start: int, stop: int) -> Tensor:
    return (torch.arange(stop) <= torch.arange(start, stop)[:, None])[None, None]


def _visible_keys(mask: Tensor) -> tuple[int, int]:
    """First and last + 1 of the keys that any query of a block sees: in packed rows most records are left out."""
    columns = visible(mask).flatten(0, -2).any(dim=0).nonzero()
    return (int(columns[0]), int(columns[-1]) + 1) if len(columns) else (0, mask.shape[-1])


def visible(mask: Tensor) -> Tensor:
    """A boolean mask as it is; of an additive one, what is not about the lowest number of its dtype or minus infinity."""
    return mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2
