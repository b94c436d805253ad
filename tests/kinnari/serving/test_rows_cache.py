"""Columns of rows that join and leave, against lists."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import DynamicCache
from transformers.cache_utils import DynamicSlidingWindowLayer

from kinnari.serving.rows_cache import RowsCache


def states(values: list[float]) -> torch.Tensor:
    """[1, 1, n, 2] of one row."""
    return torch.tensor(values)[None, None, :, None].expand(1, 1, -1, 2).contiguous()


def read(values: list[float]) -> DynamicCache:
    cache = DynamicCache()
    for layer in range(2):
        cache.update(states(values), -states(values), layer)
    return cache


def step(cache: RowsCache, values: list[float]) -> tuple[torch.Tensor, list[torch.Tensor]]:
    mask = cache.before_step()
    new = torch.tensor(values)[:, None, None, None].expand(-1, 1, 1, 2)
    seen = [cache.update(new, -new, layer) for layer in range(2)]
    cache.after_step()
    assert all(torch.equal(keys, -values) for keys, values in seen)
    return mask, [keys[:, 0, :, 0] for keys, _ in seen]


def test_rows_end_in_one_column() -> None:
    cache = RowsCache()
    cache.join(read([1.0, 2.0, 3.0]))
    cache.join(read([7.0]))
    mask, keys = step(cache, [4.0, 8.0])
    assert mask.tolist() == [[1, 1, 1, 1], [0, 0, 1, 1]]
    assert keys[0].tolist() == keys[1].tolist() == [[1, 2, 3, 4], [0, 0, 7, 8]]


def test_the_longest_row_takes_its_columns_along() -> None:
    cache = RowsCache()
    for values in ([1.0, 2.0, 3.0, 4.0], [7.0], [8.0, 9.0]):
        cache.join(read(values))
    cache.leave(0)
    mask, keys = step(cache, [5.0, 6.0])
    assert mask.tolist() == [[1, 1, 1], [0, 1, 1]]
    assert keys[0].tolist() == [[8, 9, 5], [0, 7, 6]]


def test_the_last_row_takes_the_buffers_along() -> None:
    cache = RowsCache()
    cache.join(read([1.0]))
    cache.leave(0)
    assert (cache.layers, cache.span.rows, cache.span.end) == ([], 0, 0)


def test_a_layer_that_forgets_is_refused() -> None:
    cache = DynamicCache()
    cache.layers = [DynamicSlidingWindowLayer(4)]
    cache.update(states([1.0]), states([1.0]), 0)
    with pytest.raises(TypeError, match="every layer"):
        RowsCache().join(cache)


@given(st.lists(st.one_of(st.integers(1, 90), st.tuples(st.just("leave"), st.integers(0, 9)), st.just("step")), max_size=60))
def test_any_order_of_joining_leaving_and_stepping_keeps_every_row(events: list) -> None:
    cache, rows, number = RowsCache(), [], 0.0
    for event in events:
        if isinstance(event, int):
            rows.append([number := number + 1 for _ in range(event)])
            cache.join(read(rows[-1]))
        elif event == "step" and rows:
            for row in rows:
                row.append(number := number + 1)
            mask, keys = step(cache, [row[-1] for row in rows])
            longest = max(map(len, rows))
            assert mask.tolist() == [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
            for layer in keys:
                assert layer.tolist() == [[0.0] * (longest - len(row)) + row for row in rows] or torch.equal(
                    layer * mask, torch.tensor([[0.0] * (longest - len(row)) + row for row in rows])
                )
        elif event != "step" and rows:
            leaving = event[1] % len(rows)
            cache.leave(leaving)
            rows[leaving] = rows[-1]
            rows.pop()


def test_columns_that_come_into_sight_hold_nothing_of_rows_that_have_left() -> None:
    cache = RowsCache()
    cache.join(read([float("nan")] * 6))
    cache.join(read([1.0]))
    cache.leave(0)
    cache.join(read([2.0, 3.0, 4.0, 5.0, 6.0]))
    _, keys = step(cache, [7.0, 8.0])
    assert keys[0].tolist() == [[0, 0, 0, 0, 1, 7], [2, 3, 4, 5, 6, 8]]
