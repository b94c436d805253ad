"""Keys and values of rows that join and leave at any step, all ending in the same column.

                 first          end
    row 0    . . 7 4 9 2 2 8 1 3 |          a joining row is copied in so that its last token stands in the last column;
    row 1    . . . . . 5 8 3 2 6 |          columns before a row's own beginning are zero, and masked
    row 2    . . . . . . . . 4 4 |          row 0 leaves: the last row takes its place, `first` moves on to the longest that is left

The columns lie in buffers with room at the end, so that a step writes one column and copies none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer

ROOM = 64  # least columns that are added at a time


@dataclass
class Span:
    """Which part of the buffers is in use; one object, shared by all layers.

    Attributes:
        starts: column in which each row begins.
        end: column after the last.
    """

    starts: list[int] = field(default_factory=list)
    end: int = 0

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(self.starts)

    @property
    def first(self) -> int:
        """Column in which the longest row begins."""
        return min(self.starts, default=self.end)


class RowsLayer(DynamicLayer):
    """One layer: `all_keys`, `all_values` [rows + free, H, columns + free, D].

    Every column is kept, of layers with a sliding window too: their mask hides what is too far back.

    Args:
        span: shared by all layers.
        like: the layer of the first row that joins; gives dtype, device and sizes.
    """

    def __init__(self, span: Span, like: DynamicLayer) -> None:
        super().__init__()
        assert like.keys is not None and like.values is not None
        self.span = span
        self.dtype, self.device = like.keys.dtype, like.keys.device
        self.all_keys, self.all_values = (like.keys.new_zeros(0, t.shape[1], 0, t.shape[3]) for t in (like.keys, like.values))
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object) -> tuple[Tensor, Tensor]:
        """Writes [rows, H, Q, D] behind the last column; views [rows, H, length + Q, D]. `Span.end` moves on after all layers."""
        span, length = self.span, key_states.shape[-2]
        columns = slice(span.end, span.end + length)
        self.all_keys[: span.rows, :, columns], self.all_values[: span.rows, :, columns] = key_states, value_states
        seen = slice(span.first, span.end + length)
        return self.all_keys[: span.rows, :, seen], self.all_values[: span.rows, :, seen]

    def get_seq_length(self) -> int:
        """Columns that the next query sees before itself."""
        return self.span.end - self.span.first

    def resize(self, rows: int, columns: int, shift: int) -> None:
        """Buffers of a new size, what is in use moved by `shift` columns."""
        span = self.span
        for name in ("all_keys", "all_values"):
            old: Tensor = getattr(self, name)
            new = old.new_zeros(rows, old.shape[1], columns, old.shape[3])
            new[: span.rows, :, span.first + shift : span.end + shift] = old[: span.rows, :, span.first : span.end]
            setattr(self, name, new)

    def put(self, row: int, like: DynamicLayer) -> None:
        """A joining row's columns [1, H, n, D], the last of them before `Span.end`; zeros before them."""
        assert like.keys is not None and like.values is not None
        for buffer, read in ((self.all_keys, like.keys), (self.all_values, like.values)):
            start = self.span.end - read.shape[-2]
            buffer[row, :, :start] = 0  # of a row that has left: what is masked must still be finite
            buffer[row, :, start : self.span.end] = read[0]

    def move(self, source: int, row: int) -> None:
        """The columns of one row into the place of another."""
        seen = slice(self.span.first, self.span.end)
        for buffer in (self.all_keys, self.all_values):
            buffer[row, :, seen] = buffer[source, :, seen]


class RowsCache(Cache):
    """The cache of all running rows."""

    def __init__(self) -> None:
        super().__init__(layers=[])
        self.layers: list[Any]  # RowsLayer; the base class names kinds that have nothing in common
        self.span = Span()
        self._room = (0, 0)  # rows and columns of the buffers

    def join(self, read: Cache) -> None:
        """Add the row whose prompt was read into `read`, a cache of one row and plain layers.

        Raises:
            TypeError: a layer that is not one column of keys and values per token.
        """
        layers: list[Any] = read.layers
        if not all(type(layer) is DynamicLayer and layer.keys is not None for layer in layers):
            raise TypeError("rows can only be joined where every layer keeps a key and a value for each token")
        length = read.get_seq_length()
        if not self.layers:
            self.layers = [RowsLayer(self.span, layer) for layer in layers]
        self._make_room(self.span.rows + 1, max(length, self.span.end - self.span.first), columns=1)
        for mine, layer in zip(self.layers, layers, strict=True):
            mine.put(self.span.rows, layer)
        if length > self.span.end - self.span.first:
            self._clear(self.span.end - length, self.span.first)
        self.span.starts.append(self.span.end - length)

    def leave(self, row: int) -> None:
        """Row `row` is forgotten, and the last row is now row `row`. With the last one the buffers go."""
        last = self.span.rows - 1
        if row != last:
            for layer in self.layers:
                layer.move(last, row)
            self.span.starts[row] = self.span.starts[last]
        self.span.starts.pop()
        if not self.span.rows:
            self.layers, self.span, self._room = [], Span(), (0, 0)

    def before_step(self) -> Tensor:
        """Room for one column more; returns the mask [rows, length + 1] int64 of what each row sees, that column included."""
        self._make_room(self.span.rows, self.span.end - self.span.first, columns=1)
        columns = torch.arange(self.span.first, self.span.end + 1)
        return (columns[None] >= torch.tensor(self.span.starts)[:, None]).long()

    def after_step(self) -> None:
        """All layers have written their column."""
        self.span.end += 1

    def _make_room(self, rows: int, before: int, columns: int) -> None:
        """Buffers in which `before` columns fit before `Span.end` and `columns` behind it."""
        span, (had_rows, had_columns) = self.span, self._room
        if rows <= had_rows and before <= span.end and span.end + columns <= had_columns:
            return
        rows = had_rows if rows <= had_rows else max(rows, 2 * had_rows)
        needed = before + columns
        width = had_columns if needed + ROOM <= had_columns else needed + max(ROOM, before // 2)
        shift = before - span.end
        for layer in self.layers:
            layer.resize(rows, width, shift)
        span.starts[:] = [start + shift for start in span.starts]
        span.end += shift
        self._room = (rows, width)

    def _clear(self, first: int, last: int) -> None:
        """Zeros in columns that come into sight of rows that begin later."""
        for layer in self.layers:
            layer.all_keys[: self.span.rows, :, first:last] = 0
            layer.all_values[: self.span.rows, :, first:last] = 0
