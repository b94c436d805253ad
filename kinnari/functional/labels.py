"""Labels -> targets: which token each position must predict, and how many of them are trained.

A label stands on the token itself; a target stands on the position that predicts it. For a causal model position t
predicts the token t + 1, so targets are labels moved one place to the left. A sequence-to-sequence model's decoder
input is already moved to the right, so its labels *are* its targets.

Notation: B rows, T positions, -100 = not trained (the field's convention, from torch's `ignore_index`).
"""

import math

import torch
from torch import Tensor

IGNORED = -100


def shift_targets(labels: Tensor, segment_ids: Tensor | None = None) -> Tensor:
    """targets[:, t] = labels[:, t + 1]; the last position has nothing to predict and gets -100.

    In a packed row the last token of one record never predicts the first token of the next. The collator already labels
    the first token of every record -100 (nothing stands before it; `first_tokens_untrained` checks that), so the shift
    alone is right there; with `segment_ids` the boundary is cut here as well, whatever the labels say, at the price of
    one comparison.

    Args:
        labels: [B, T] int64, -100 where not trained.
        segment_ids: [B, T] int64, the record each token of a packed row belongs to; None for rows of one record.

    Returns:
        [B, T] int64.
    """
    targets = torch.full_like(labels, IGNORED)
    targets[:, :-1] = labels[:, 1:]
    if segment_ids is not None:
        _check_same_shape(labels, segment_ids)
        targets[:, :-1].masked_fill_(segment_ids[:, 1:] != segment_ids[:, :-1], IGNORED)
    return targets


def count_trained(targets: Tensor) -> int:
    """Trained positions in *targets* (shifted for a causal model): the tokens the loss sums over."""
    return int((targets != IGNORED).sum())


def first_tokens_untrained(labels: Tensor, segment_ids: Tensor | None = None) -> bool:
    """Whether no record's first token carries a label.

    Then `count_trained(labels) == count_trained(shift_targets(labels))`: the tokens a collator counts (`step_tokens`)
    are the tokens the loss sees. For rows of one record without left padding pass no `segment_ids`; first means column
    0.

    Args:
        labels: [B, T] int64.
        segment_ids: [B, T] int64 or None, as in `shift_targets`.
    """
    first = torch.zeros_like(labels, dtype=torch.bool)
    first[:, :1] = True
    if segment_ids is not None:
        _check_same_shape(labels, segment_ids)
        first[:, 1:] = segment_ids[:, 1:] != segment_ids[:, :-1]
    return bool((labels[first] == IGNORED).all())


def perplexity(nll_sum: float, count: int) -> float:
    """exp(nll_sum / count), nll in nats; infinite where that exceeds a float.

    Raises:
        ValueError: count below 1: the mean over no token does not exist.
    """
    if count < 1:
        raise ValueError(f"count={count}: perplexity is a mean over trained tokens; give at least one, or report none")
    try:
        return math.exp(nll_sum / count)
    except OverflowError:
        return math.inf


def _check_same_shape(labels: Tensor, segment_ids: Tensor) -> None:
    if labels.shape != segment_ids.shape:
        raise ValueError(f"labels are {tuple(labels.shape)} and segment_ids {tuple(segment_ids.shape)}: both must be [B, T]")
