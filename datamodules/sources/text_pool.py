"""Texts in nested groups, to draw worse answers from: another line of the same book, one of another book.

pool = TextPool([(("史记", "本纪"), "..."), (("汉书", "本纪"), "...")])
pool.draw(2, generator, within=("史记",), outside=("史记", "本纪"), but={"..."})
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable

Group = tuple[str | int, ...]
FEW = 64  # up to so many texts are drawn from by shuffling them all


class TextPool:
    """Different texts of each group, sorted, so that a draw does not depend on the order in which they were read.

    Args:
        texts: (group, text); all groups are of the same depth. All texts stay in memory.
    """

    def __init__(self, texts: Iterable[tuple[Group, str]]) -> None:
        groups: dict[Group, set[str]] = {}
        for group, text in texts:
            groups.setdefault(group, set()).add(text)
        self._texts: list[str] = []
        self._spans: dict[Group, tuple[int, int]] = {}
        for group in sorted(groups):
            start = len(self._texts)
            self._texts += sorted(groups[group])
            for depth in range(len(group) + 1):
                first, _ = self._spans.get(group[:depth], (start, start))
                self._spans[group[:depth]] = (first, len(self._texts))

    def draw(
        self, count: int, generator: random.Random, *, within: Group = (), outside: Group | None = None, but: Collection[str] = ()
    ) -> list[str]:
        """Up to `count` different texts, fewer if there are not so many.

        Args:
            within: the group to draw from, or the first parts of its name; () is everything.
            outside: a group inside `within` to leave out.
            but: texts that must not be drawn.
        """
        low, high = self._spans.get(within, (0, 0))
        left_low, left_high = self._spans.get(outside, (low, low)) if outside is not None else (low, low)
        size = (high - low) - (left_high - left_low)
        chosen: list[str] = []
        if size <= FEW:
            places: Iterable[int] = sorted(range(size), key=lambda _: generator.random())
        else:
            # A handful of texts to leave out among more than sixty: a draw may fail, not two hundred in a row.
            places = (int(generator.random() * size) for _ in range(200 + 4 * count))
        for place in places:
            if len(chosen) == count:
                break
            index = low + place
            text = self._texts[index if index < left_low else index + (left_high - left_low)]
            if text not in but and text not in chosen:
                chosen.append(text)
        return chosen
