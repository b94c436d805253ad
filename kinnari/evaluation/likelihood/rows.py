"""Rows of trees -> padded tensors, and rows into batches of about equal length.

Padding stands on the right, sees itself alone, and nothing sees it: no number depends on it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from kinnari.evaluation.likelihood.tree import Row


def batches_of(rows: Sequence[Row], token_budget: int) -> list[list[Row]]:
    """Rows sorted by length, the longest first, as many together as the budget of padded tokens allows; one at least."""
    batches: list[list[Row]] = []
    for row in sorted(rows, key=lambda row: -len(row.ids)):
        if not batches or (len(batches[-1]) + 1) * len(batches[-1][0].ids) > token_budget:
            batches.append([])
        batches[-1].append(row)
    return batches


def padded(lists: Sequence[Sequence[int]], fill: int = 0) -> Tensor:
    """[B, W] int64, padded on the right."""
    width = max(len(values) for values in lists)
    return torch.tensor([[*values, *[fill] * (width - len(values))] for values in lists])


def ancestors(rows: Sequence[Row], past: int, open_to: Sequence[int] | None = None) -> Tensor:
    """Who sees whom: every token its ancestors, itself and what is cached.

    Args:
        past: cached tokens in front.
        open_to: of each row, how many tokens at its beginning everyone sees, also they each other (GLM's context); None for none.

    Returns:
        [B, W, past + W] bool.
    """
    width = max(len(row.ids) for row in rows)
    seen = np.zeros((len(rows), width, past + width), dtype=bool)
    seen[:, np.arange(width), past + np.arange(width)] = True
    for b, row in enumerate(rows):
        length = len(row.ids)
        seen[b, :length, :past] = True
        if row.is_chain:
            seen[b, :length, past : past + length] |= np.tri(length, dtype=bool)
        else:
            for column, parent in enumerate(row.parents):
                if parent >= 0:
                    seen[b, column] |= seen[b, parent]
        if open_to is not None:
            seen[b, :length, : open_to[b]] = True
    return torch.from_numpy(seen)


def within(positions: Tensor, past: int, window: int) -> Tensor:
    """[B, W, past + W] bool, True where a key is less than `window` positions before the query.

    Args:
        positions: [B, W], those of the tokens behind the cached ones, which stand at 0 .. past - 1.
    """
    cached = torch.arange(past).expand(len(positions), -1)
    return positions[:, :, None] - torch.cat((cached, positions), dim=1)[:, None, :] < window


def asked(rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
    """Places (row * W + column) and targets of a batch, as `LossHead.several_logprobs` takes them: [M] int64 each."""
    width = max(len(row.ids) for row in rows)
    places = [b * width + place for b, row in enumerate(rows) for place in row.places]
    targets = [target for row in rows for target in row.targets]
    return torch.tensor(places, dtype=torch.int64), torch.tensor(targets, dtype=torch.int64)


def deliver(rows: Sequence[Row], answers: Tensor) -> None:
    """Write the answers of a batch, [M], into the values of their trees."""
    numbers = answers.double().cpu().numpy()
    at = 0
    for row in rows:
        row.tree.values[row.slots] = numbers[at : at + len(row.slots)]
        row.tree.missing -= len(row.slots)
        at += len(row.slots)
