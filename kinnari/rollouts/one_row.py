"""The answers of a micro-batch in one row: what all their prompts begin with once, then every row's own rest, without padding.

rows    p q r a b c     row       p q r a b c s d         attention    p . . . . . . .
        p q s d         position  0 1 2 3 4 5 2 3                      p q . . . . . .
                        branch    0 0 1 1 1 1 2 2                      p q . . . . s .     (of s)

Chat templates begin every prompt with the same words (a system prompt, the marks of a turn), often more than the question has; in a
causal model their states are the same in every row. Every number is that of separate rows, see `kinnari.models.shared_prefix`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kinnari.functional.labels import IGNORED
from kinnari.models.shared_prefix import ROUND_TO, SharedRows, cost


def in_one_row(input_ids: Tensor, attention_mask: Tensor, targets: Tensor, hidden_size: int) -> SharedRows | None:
    """B rows [T] as one, or None where that would cost more than separate rows.

    Args:
        input_ids: [B, T] int64.
        attention_mask: [B, T], nonzero on real tokens; padding on the right.
        targets: [B, T] int64, shifted, -100 where nothing is predicted. A place that predicts is shared with no other row.
        hidden_size: H, to tell what attention costs.
    """
    lengths = (attention_mask != 0).sum(1)
    common = _common(input_ids, lengths, targets)
    rests = lengths - common
    ends = common + rests.cumsum(0)
    width = -(-int(ends[-1]) // ROUND_TO) * ROUND_TO
    if cost(width, hidden_size) >= len(input_ids) * cost(input_ids.shape[1], hidden_size):
        return None
    columns = torch.arange(input_ids.shape[1], device=input_ids.device)
    places = torch.where(columns < common, columns, columns + (ends - lengths)[:, None])
    places = places.minimum(ends[:, None] - 1)  # padding
    kept = columns < lengths[:, None]
    where = places[kept]
    branch = torch.arange(1, len(input_ids) + 1, device=input_ids.device)[:, None]

    def laid(values: Tensor, filler: int) -> Tensor:
        """[B, T] -> [1, W]; shared places are written with the same number by every row."""
        return values.new_full((width,), filler).index_put((where,), values.expand(input_ids.shape)[kept])[None]

    return SharedRows(
        input_ids=laid(input_ids, int(input_ids[0, 0])),
        position_ids=laid(columns, 0),
        pairs=laid(torch.zeros_like(columns), -1),
        branches=laid(torch.where(columns < common, 0, branch), 0),
        places=places,
    )


def _common(input_ids: Tensor, lengths: Tensor, targets: Tensor) -> int:
    """Tokens that all rows begin with, before the first place that predicts in any of them."""
    alike = (input_ids == input_ids[:1]).all(0) & (targets == IGNORED).all(0)
    alike &= torch.arange(input_ids.shape[1], device=input_ids.device) < lengths.min()
    return int(alike.long().cumprod(0).sum())


def targets_in_row(row: SharedRows, targets: Tensor) -> Tensor:
    """Targets [B, T] as [1, W]."""
    wanted = targets != IGNORED
    return targets.new_full((row.input_ids.numel(),), IGNORED).index_put((row.places[wanted],), targets[wanted])[None]
