"""Translation pairs out of two files with the same ShareGPT conversations, one English and one Korean, each a json list or json lines of

    {"id": "QWJhYvA_0", "conversations": [{"from": "human", "value": "Hi"}, ...]}         path
    {"id": "QWJhYvA_0", "conversations": [{"from": "human", "value": "안녕하세요"}, ...]}     target_path

One row per turn: a request to translate the turn of `path`, answered by that of `target_path`. Which language is which is told from the
texts. Conversations with different numbers of turns are left out: nothing says which turn belongs to which.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from datamodules.reading import Row, data_files, read_rows, shown
from datamodules.sources.page_remnants import text_of_page
from datamodules.sources.source import Source
from datamodules.sources.translation_pair import direction_of, translation
from kinnari.text.conversation import Conversation, Reject

Placed = tuple[str, Row]  # file and row


@dataclass(frozen=True, kw_only=True)
class ShareGPTParallel(Source):
    """Two files with the same conversations in two languages.

    Args:
        path: the texts to translate. For the other direction exchange the two files.
        target_path: their translations.
        split, subset: where the two are hub datasets.

    Conversations that both have an `id` are joined by it, whatever their order; rows without one are joined by position.
    """

    path: str
    target_path: str
    split: str = "train"
    subset: str | None = None
    name: str = "sharegpt_parallel"

    def files(self) -> list[Path]:
        """The local files behind both paths."""
        return [*data_files(self.path), *data_files(self.target_path)]

    def read(self) -> Iterator[Conversation | Reject]:
        """Pairs in the order in which both halves of a conversation have been read."""
        sides = [read_rows(path, split=self.split, subset=self.subset) for path in (self.path, self.target_path)]
        for number, (source, target) in enumerate(joined(*sides)):
            if source is None or target is None:
                file, row = source or target  # type: ignore[misc]  # one of the two is there
                yield self._reject(file, row, row.error or "the other file has no such conversation")
                continue
            yield from self._pairs(number, source, target)

    def _pairs(self, number: int, source: Placed, target: Placed) -> Iterator[Conversation | Reject]:
        values = []
        for file, row in (source, target):
            found = row.error or turn_texts(row.value)
            if isinstance(found, str):
                yield self._reject(file, row, found)
                return
            values.append(found)
        if len(values[0]) != len(values[1]):
            yield self._reject(*source, f"{len(values[0])} turns here and {len(values[1])} in the other file")
            return
        direction = direction_of(*values)
        if direction is None:
            yield self._reject(*source, "neither side of the conversation is plainly the Korean one")
            return
        for turn, (text, translated) in enumerate(zip(*values, strict=True)):
            messages = translation(text, translated, direction)
            if isinstance(messages, str):
                yield self._reject(*source, f"turn {turn + 1}: {messages}")
                continue
            yield Conversation(
                messages=messages,
                record_id=f"{self.name}:{number}:{turn}",
                source=self.name,
                language="ko" if direction == "into_korean" else "en",
                licence=self.licence,
            )

    def _reject(self, file: str, row: Row, reason: str) -> Reject:
        return Reject(source=self.name, file=file, line=row.line, reason=reason, row=shown(row.value))


def turn_texts(row: Any) -> list[str] | str:
    """The texts of a conversation's turns, cleaned of what the web page left in them, or why the row is none."""
    turns = row.get("conversations", row.get("items")) if isinstance(row, dict) else None
    if not isinstance(turns, list) or not turns:
        return "'conversations' is missing, empty or not a list"
    texts = [turn["value"] for turn in turns if isinstance(turn, dict) and isinstance(turn.get("value"), str)]
    if len(texts) < len(turns):
        return "a turn is not an object with text in 'value'"
    return [text_of_page(text.replace("\r\n", "\n")) for text in texts]


def joined(left: Iterator[Placed], right: Iterator[Placed]) -> Iterator[tuple[Placed | None, Placed | None]]:
    """Rows of both sides that belong together; at the end those that found no partner.

    Two files in the same order are joined with one row of each in memory, others with as many as they are out of step. Rows without an
    `id`, broken ones included, are joined with the row in the same place if that has none either.
    """
    waiting: tuple[dict[str, deque[Placed]], dict[str, deque[Placed]]] = (defaultdict(deque), defaultdict(deque))
    for pair in zip_longest(left, right):
        names = [_id(placed) for placed in pair]
        if names == [None, None]:
            yield pair
            continue
        for side, (placed, name) in enumerate(zip(pair, names, strict=True)):
            if placed is None:
                continue
            partners = waiting[1 - side]
            if name is None:
                yield (placed, None) if side == 0 else (None, placed)
            elif partners.get(name):
                partner = partners[name].popleft()
                if not partners[name]:
                    del partners[name]
                yield (placed, partner) if side == 0 else (partner, placed)
            else:
                waiting[side][name].append(placed)
    yield from ((placed, None) for queue in waiting[0].values() for placed in queue)
    yield from ((None, placed) for queue in waiting[1].values() for placed in queue)


def _id(placed: Placed | None) -> str | None:
    value = placed[1].value if placed and not placed[1].error else None
    name = value.get("id") if isinstance(value, dict) else None
    return name if isinstance(name, str) and name else None
