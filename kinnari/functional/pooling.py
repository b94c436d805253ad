"""From a number for every token to a number for every row."""

from __future__ import annotations

import torch
from torch import Tensor


def last_token(attention_mask: Tensor) -> Tensor:
    """Place of the last real token of each row, wherever the padding is and whatever token pads.

    Args:
        attention_mask: [B, T], nonzero on real tokens; every row has one.

    Returns:
        [B] int64.
    """
    places = torch.arange(attention_mask.shape[1], device=attention_mask.device)
    return (places * (attention_mask != 0)).argmax(dim=1)


def at_last_token(values: Tensor, attention_mask: Tensor) -> Tensor:
    """values [B, T] -> [B], those at the last real tokens."""
    return values.gather(1, last_token(attention_mask)[:, None]).squeeze(1)


def at_first_token(values: Tensor, attention_mask: Tensor) -> Tensor:
    """values [B, T] -> [B], those at the first real tokens."""
    return values.gather(1, (attention_mask != 0).long().argmax(dim=1)[:, None]).squeeze(1)


def mean_over_tokens(values: Tensor, attention_mask: Tensor) -> Tensor:
    """values [B, T] -> [B], their mean over the real tokens; 0 for a row without any.

    sunzeyeah/RLHF of March 2023 averaged over padding as well, so that a score depended on the longest row of its batch.
    """
    mask = attention_mask != 0
    return (values * mask).sum(1) / mask.sum(1).clamp(min=1)
