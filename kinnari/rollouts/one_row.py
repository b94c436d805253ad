"""The answers of a micro-batch in one row: what prompts begin with once, then every row's own rest, without padding.

rows    p q r a b c     row       p q r a b c s d         attention    p . . . . . . .
        p q s d         position  0 1 2 3 4 5 2 3                      p q . . . . . .
                        branch    0 0 1 1 1 1 2 2                      p q . . . . s .     (of s)

Chat templates begin every prompt with the same words (a system prompt, the marks of a turn), often more than the question has; and with
`answers_per_prompt` several rows have the whole prompt in common. In a causal model its states are the same in every row. Either all
rows share what all of them begin with, or the answers to each prompt share that prompt, whichever leaves the shorter row. Every number
is that of separate rows, see `kinnari.models.shared_prefix`.
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
    layouts = [_all_together(input_ids, lengths, targets), _prompt_by_prompt(input_ids, targets)]
    groups, common = min(layouts, key=lambda layout: int(_widths(lengths, *layout).sum()))
    taken = _widths(lengths, groups, common)
    ends = taken.cumsum(0)
    width = -(-int(ends[-1]) // ROUND_TO) * ROUND_TO
    if cost(width, hidden_size) >= len(input_ids) * cost(input_ids.shape[1], hidden_size):
        return None
    begins = (ends - taken)[_first_of(groups)][groups]
    columns = torch.arange(input_ids.shape[1], device=input_ids.device)
    shared = columns < common[:, None]
    places = torch.where(shared, begins[:, None] + columns, (ends - lengths)[:, None] + columns)
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
        pairs=laid(groups[:, None], -1),
        branches=laid(torch.where(shared, 0, branch), 0),
        places=places,
    )


def _first_of(groups: Tensor) -> Tensor:
    """[B] bool: the first row of its group."""
    return groups.diff(prepend=groups.new_full((1,), -1)) != 0


def _widths(lengths: Tensor, groups: Tensor, common: Tensor) -> Tensor:
    """[B] tokens that each row adds: its own rest, the first of a group also what the group shares."""
    return lengths - common + torch.where(_first_of(groups), common, 0)


def _all_together(input_ids: Tensor, lengths: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """(group, common tokens) of each row, [B]: one group, and what all begin with before the first place that predicts in any of them."""
    alike = (input_ids == input_ids[:1]).all(0) & (targets == IGNORED).all(0)
    alike &= torch.arange(input_ids.shape[1], device=input_ids.device) < lengths.min()
    return torch.zeros_like(lengths), alike.long().cumprod(0).sum().expand_as(lengths)


def _prompt_by_prompt(input_ids: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """(group, common tokens) of each row, [B]: neighbours with the same prompt, and all of it but the token that predicts the answer."""
    before = (targets != IGNORED).long().argmax(1)  # where the answer is predicted first
    columns = torch.arange(input_ids.shape[1], device=input_ids.device)
    unlike = ((input_ids[1:] != input_ids[:-1]) & (columns <= before[1:, None])).any(1) | (before[1:] != before[:-1])
    return torch.cat((before.new_zeros(1), unlike.long().cumsum(0))), before


def targets_in_row(row: SharedRows, targets: Tensor) -> Tensor:
    """Targets [B, T] as [1, W]."""
    wanted = targets != IGNORED
    return targets.new_full((row.input_ids.numel(),), IGNORED).index_put((row.places[wanted],), targets[wanted])[None]
