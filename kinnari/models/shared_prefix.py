"""Pairs of rows that begin alike, without computing anything twice: a beginning once, each ending for itself, several pairs in a row.

chosen     p q r a b            row       p q r a b c x y .      attention     p . . . . .
rejected   p q r c              position  0 1 2 3 4 3 0 1 0                    p q . . . .
                                branch    0 0 0 1 1 2 0 1 .                    p q r . . .
                                pair      0 0 0 0 0 0 1 1 .                    p q r a . .
A token of a causal model sees what stands before it, so both rows compute     p q r a b .
the same for their common beginning. An ending sees that beginning and         p q r . . c
itself, at the positions it had: every number is that of separate rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig

from kinnari.models.spec import PackingMethod

ROUND_TO = 8  # as in kinnari.text.batches: attention kernels of GPUs want masks of such widths


@dataclass(frozen=True)
class SharedRows:
    """2P rows [T] as R rows [W].

    Attributes:
        input_ids: [R, W] int64, 0 on padding, which no token sees.
        position_ids: [R, W] int64, those the tokens had in their own rows.
        pairs: [R, W] int64, the number of the pair, -1 on padding.
        branches: [R, W] int64: 0 the common beginning, 1 and 2 the endings.
        places: [2P, T] int64, where in R * W the tokens of the separate rows went; some place for padding.
    """

    input_ids: Tensor
    position_ids: Tensor
    pairs: Tensor
    branches: Tensor
    places: Tensor

    def separate(self, values: Tensor) -> Tensor:
        """Values [R, W] of the shared rows as [2P, T]; what stands on padding means nothing."""
        return values.flatten().index_select(0, self.places.flatten()).view(self.places.shape)


@dataclass(frozen=True)
class Layout:
    """Where each pair begins: its row and its first column; of rows so wide."""

    rows: list[int]
    columns: list[int]
    width: int

    def cost(self, hidden_size: int) -> int:
        """What a forward costs, see `cost`."""
        return (max(self.rows) + 1) * cost(self.width, hidden_size)


def cost(width: int, hidden_size: int) -> int:
    """What a row costs, relative to others.

    A block multiplies 12 H² numbers a token (attention 4 H², MLP 8 H²) and 2 W H in its attention, where one takes about three times
    as long (measured on a CPU with 400 tokens a row, forward and backward): W (12 H² + 6 W H), in units of 6 H.
    """
    return width * (2 * hidden_size + width)


def lay_out(lengths: Sequence[int], hidden_size: int) -> Layout:
    """Pairs in rows as wide as the longest one, or all in one row, whichever costs less.

    Args:
        lengths: tokens of each pair, the common beginning counted once.
    """
    return min((first_fit(lengths, width) for width in (max(lengths), sum(lengths))), key=lambda layout: layout.cost(hidden_size))


def first_fit(lengths: Sequence[int], width: int) -> Layout:
    """Pairs in rows, the longest first, each in the first row that has room; the width is rounded up."""
    width = -(-width // ROUND_TO) * ROUND_TO
    used: list[int] = []
    rows, columns = [0] * len(lengths), [0] * len(lengths)
    for pair in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        row = next((i for i, taken in enumerate(used) if taken + lengths[pair] <= width), len(used))
        used += [0] * (row == len(used))
        rows[pair], columns[pair] = row, used[row]
        used[row] += lengths[pair]
    return Layout(rows, columns, width)


def share_prefixes(input_ids: Tensor, attention_mask: Tensor, hidden_size: int) -> SharedRows | None:
    """Rows 2i and 2i + 1 as one; None where that would cost more than separate rows.

    Args:
        input_ids: [2P, T] int64.
        attention_mask: [2P, T], nonzero on real tokens, which stand together; padding on either side.
        hidden_size: H, to tell what attention costs.
    """
    real, columns = attention_mask != 0, torch.arange(input_ids.shape[1], device=input_ids.device)
    lengths, begins = real.sum(1, keepdim=True), real.long().argmax(1, keepdim=True)
    aligned = input_ids.gather(1, (columns + begins).clamp(max=len(columns) - 1))  # every row from column 0
    alike = (aligned[0::2] == aligned[1::2]) & (columns < torch.minimum(lengths[0::2], lengths[1::2]))
    common = alike.long().cumprod(1).sum(1, keepdim=True)
    layout = lay_out((lengths[0::2] + lengths[1::2] - common).flatten().tolist(), hidden_size)
    if layout.cost(hidden_size) >= len(input_ids) * cost(len(columns), hidden_size):
        return None
    ranks = (columns - begins).clamp(min=0).minimum(lengths - 1)
    return _laid_out(layout, aligned, lengths, common, ranks)


def _laid_out(layout: Layout, aligned: Tensor, lengths: Tensor, common: Tensor, ranks: Tensor) -> SharedRows:
    """The rows of a layout.

    Args:
        aligned: [2P, T] int64, tokens from column 0 on; lengths: [2P, 1].
        common: [P, 1], how many tokens of a pair are common.
        ranks: [2P, T], which token of its row each column held before; some token for padding.
    """
    device, first, second = aligned.device, lengths[0::2], lengths[1::2]
    rows, begin = (torch.tensor(numbers, device=device)[:, None] for numbers in (layout.rows, layout.columns))
    base = rows * layout.width + begin
    past_first = torch.where(ranks[1::2] >= common, first - common, 0)
    places = torch.stack((base + ranks[0::2], base + ranks[1::2] + past_first), 1).flatten(0, 1)

    at = torch.arange(int((first + second - common).max()), device=device)
    kept, in_second = at < first + second - common, at >= first
    positions = torch.where(in_second, at - first + common, at)
    sources = positions.clamp(max=aligned.shape[1] - 1)
    ids = torch.where(in_second, aligned[1::2].gather(1, sources), aligned[0::2].gather(1, sources))
    pairs = torch.arange(len(first), device=device)[:, None].expand_as(positions)
    branches = (at >= common).long() + in_second

    def laid(values: Tensor, filler: int) -> Tensor:
        flat = values.new_full(((max(layout.rows) + 1) * layout.width,), filler)
        return flat.index_copy(0, (base + at)[kept], values[kept]).view(-1, layout.width)

    return SharedRows(laid(ids, 0), laid(positions, 0), laid(pairs, -1), laid(branches, 0), places)


def shared_mask(rows: SharedRows) -> Tensor:
    """[R, 1, W, W] bool, True where query (row) may see key (column): what stands before it in the beginning and in its own ending."""
    same = rows.pairs[:, :, None] == rows.pairs[:, None, :]
    keys, queries = rows.branches[:, None, :], rows.branches[:, :, None]
    return (same & ((keys == 0) | (keys == queries))).tril()[:, None]


def shared_inputs(rows: SharedRows, attention_implementation: str, dtype: torch.dtype) -> dict[str, Any]:
    """Arguments of a causal model's forward.

    Args:
        attention_implementation: `sdpa`, or `eager`, which adds its mask to the scores.
        dtype: of the attention scores.
    """
    mask = shared_mask(rows)
    if attention_implementation == "eager":
        mask = torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)
    return {"input_ids": rows.input_ids, "attention_mask": mask, "position_ids": rows.position_ids}


def can_share(config: PreTrainedConfig, packing: PackingMethod, longest: int) -> bool:
    """Whether records of up to `longest` tokens may share their beginnings exactly, in the attention that the model was loaded with.

    The family must take a mask [R, 1, W, W] and positions, as it does for packed rows. Not GLM, which reads its questions in both
    directions. Where a window slides, the mask stands in its place: records that fit into the window see no difference.

    Args:
        config: the model's.
        packing: `ModelSpec.packing`.
    """
    text = config.get_text_config(decoder=True)
    if packing == "none" or config._attn_implementation not in ("sdpa", "eager") or text.model_type == "glm_chinese":
        return False
    return longest <= (getattr(text, "sliding_window", None) or longest)
