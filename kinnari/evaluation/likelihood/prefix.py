"""A beginning that many rows share: its keys and values once, whatever the number of rows behind it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer


class _SharedLayer(DynamicLayer):
    """Keys and values [1, heads, P, D] that stand before those of every row; what is new is not kept."""

    keys: Tensor
    values: Tensor

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        rows = key_states.shape[0]
        # The copies live for one layer only, so that the memory of a prefix does not depend on the rows behind it.
        return (
            torch.cat((self.keys.expand(rows, -1, -1, -1), key_states), dim=-2),
            torch.cat((self.values.expand(rows, -1, -1, -1), value_states), dim=-2),
        )


def shared_cache(computed: DynamicCache) -> DynamicCache:
    """A cache filled by a forward of one row -> one that any number of rows may go on from, any number of times."""
    shared = DynamicCache()
    filled: list[Any] = computed.layers  # each a DynamicLayer, as the cache was made without a config
    for layer in filled:
        copy = _SharedLayer()
        copy.keys, copy.values = layer.keys, layer.values
        copy.dtype, copy.device, copy.is_initialized = layer.keys.dtype, layer.keys.device, True
        shared.layers.append(copy)
    shared.layer_class_to_replicate = None  # so that every layer there is has a prefix
    return shared
