"""Conversations on disk: written in blocks as they come, read back by number without loading the file.

    conversations.arrow (an Arrow stream, memory-mapped)
    messages: [{role: user, content: "...", context: "", trained: null}, ...]   record_id   source   language   licence

A table is the rows of one or more such files, or a choice of them; choosing copies numbers, never text.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self, TypeVar, cast, overload

import numpy as np
import pyarrow as pa

from kinnari.text.conversation import Conversation, Message

T = TypeVar("T")
BLOCK = 1000  # conversations of a block: the unit of writing, of work for a process and of memory
BLOCK_CHARACTERS = 1 << 24  # a block ends earlier when its text is this long
BLOCK_BYTES = 1 << 25  # the same where it is read again and only the size on disk is known
LONGEST = 1 << 24  # characters of a conversation: a tokenizer needs some hundred bytes for each of its tokens
ROLES = ("system", "user", "assistant")

_MESSAGE = pa.struct({"role": pa.string(), "content": pa.large_string(), "context": pa.large_string(), "trained": pa.bool_()})
SCHEMA = pa.schema(
    {"messages": pa.list_(_MESSAGE), "record_id": pa.string(), "source": pa.string(), "language": pa.string(), "licence": pa.string()}
)


def flaw_of(conversation: Conversation) -> str | None:
    """Why a conversation cannot be stored, or None: a source may hand over anything that was in its file."""
    return misshapen(conversation) or unreadable(conversation)


def misshapen(conversation: Conversation) -> str | None:
    """Why it is no conversation, or None."""
    if not conversation.messages:
        return "the row holds no message"
    for message in conversation.messages:
        if message.role not in ROLES:
            return f"a message has the role {str(message.role)[:40]!r}; roles are {', '.join(ROLES)}"
        if not isinstance(message.content, str) or not isinstance(message.context, str):
            return "a message is not text"
    if characters(conversation) > LONGEST:
        return f"the row holds {characters(conversation):,} characters, and no more than {LONGEST:,} can be tokenised as one record"
    return None


def unreadable(conversation: Conversation) -> str | None:
    """Why its text is none, or None."""
    try:
        for text in _texts(conversation):
            text.encode()
    except UnicodeEncodeError:
        return "the text holds half of a surrogate pair, which is no character"
    return None


def _texts(conversation: Conversation) -> Iterator[str]:
    yield from (conversation.record_id, conversation.source, conversation.language, conversation.licence)
    for message in conversation.messages:
        yield message.content
        yield message.context


def characters(conversation: Conversation) -> int:
    """Characters of all messages and contexts."""
    return sum(len(m.content) + len(m.context) for m in conversation.messages)


def encode(conversations: Sequence[Conversation]) -> pa.RecordBatch:
    """A block of conversations without flaws as columns."""
    messages = [m for c in conversations for m in c.messages]
    offsets = np.cumsum([0, *(len(c.messages) for c in conversations)], dtype=np.int32)
    columns = [
        pa.array([m.role for m in messages], pa.string()),
        pa.array([m.content for m in messages], pa.large_string()),
        pa.array([m.context for m in messages], pa.large_string()),
        pa.array([m.trained for m in messages], pa.bool_()),
    ]
    fields = [_MESSAGE.field(i) for i in range(_MESSAGE.num_fields)]
    nested = pa.ListArray.from_arrays(pa.array(offsets), pa.StructArray.from_arrays(columns, fields=fields))
    named = [pa.array([getattr(c, name) for c in conversations], pa.string()) for name in SCHEMA.names[1:]]
    return pa.record_batch([nested, *named], schema=SCHEMA)


def decode(batch: pa.RecordBatch) -> list[Conversation]:
    """The conversations of a block."""
    nested = batch.column("messages")
    fields = nested.flatten().flatten()
    parts = zip(*(field.to_pylist() for field in fields), strict=True)
    messages = [Message(role, content, context, trained) for role, content, context, trained in parts]
    ends = (nested.offsets.to_numpy() - nested.offsets[0].as_py()).tolist()
    names = zip(*(batch.column(name).to_pylist() for name in SCHEMA.names[1:]), strict=True)
    return [
        Conversation(
            messages=tuple(messages[ends[i] : ends[i + 1]]), record_id=record_id, source=source, language=language, licence=licence
        )
        for i, (record_id, source, language, licence) in enumerate(names)
    ]


def to_bytes(batch: pa.RecordBatch) -> bytes:
    """A block in a form that goes through a pipe."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    return sink.getvalue().to_pybytes()


def from_bytes(data: bytes) -> pa.RecordBatch:
    """The block again."""
    return pa.ipc.open_stream(data).read_next_batch()


class ArrowWriter:
    """An Arrow stream file that is written block by block; within `with`."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path, self.schema, self.rows = path, schema, 0

    def __enter__(self) -> Self:
        self._file = pa.OSFile(str(self.path), "wb")
        self._stream = pa.ipc.new_stream(self._file, self.schema)
        return self

    def write(self, batch: pa.RecordBatch) -> None:
        """Append a block; empty ones leave no trace."""
        if batch.num_rows:
            self._stream.write_batch(batch)
            self.rows += batch.num_rows

    def __exit__(self, *problem: object) -> None:
        self._stream.close()
        self._file.close()


def open_batches(path: Path) -> list[pa.RecordBatch]:
    """The blocks of an Arrow stream file, memory-mapped."""
    with pa.memory_map(str(path)) as source:
        return list(pa.ipc.open_stream(source))


def write_conversations(
    conversations: Iterable[Conversation], path: Path, reject: Callable[[Conversation, str], None] = lambda conversation, reason: None
) -> int:
    """Write conversations to a file, a block at a time; returns their number.

    Args:
        reject: is told of each whose text cannot be written, and why.
    """
    with ArrowWriter(path, SCHEMA) as out:
        for block in blocks_of(conversations):
            try:
                batch = encode(block)
            except UnicodeEncodeError:  # looked for only where it is: looking costs more than writing
                flaws = [unreadable(conversation) for conversation in block]
                for conversation, flaw in zip(block, flaws, strict=True):
                    if flaw:
                        reject(conversation, flaw)
                batch = encode([c for c, flaw in zip(block, flaws, strict=True) if not flaw])
            out.write(batch)
        return out.rows


def blocks_of(conversations: Iterable[Conversation], most: int = BLOCK_CHARACTERS) -> Iterator[list[Conversation]]:
    """Lists of at most BLOCK conversations and about `most` characters."""
    return stretches(conversations, characters, BLOCK, most)


def stretches(items: Iterable[T], size_of: Callable[[T], int], most_items: int, most_size: int) -> Iterator[list[T]]:
    """Items in order, in lists that end with `most_items` items or when their sizes add up to `most_size`."""
    stretch: list[T] = []
    size = 0
    for item in items:
        stretch.append(item)
        size += size_of(item)
        if len(stretch) == most_items or size >= most_size:
            yield stretch
            stretch, size = [], 0
    if stretch:
        yield stretch


class BatchedRows:
    """Record batches end to end, and where each begins."""

    def __init__(self, batches: Sequence[pa.RecordBatch]) -> None:
        self.batches = list(batches)
        self.starts = np.cumsum([0, *(b.num_rows for b in self.batches)], dtype=np.int64)

    def __len__(self) -> int:
        return int(self.starts[-1])

    def locate(self, row: int) -> tuple[int, int]:
        """(batch, row within it)."""
        number = int(np.searchsorted(self.starts, row, side="right")) - 1
        return number, row - int(self.starts[number])

    def pieces(self, rows: np.ndarray) -> Iterator[pa.RecordBatch]:
        """The rows [N] int64 in their order: one piece for each stretch that lies in one batch."""
        numbers = np.searchsorted(self.starts, rows, side="right") - 1
        borders = np.flatnonzero(np.diff(numbers)) + 1
        for part in np.split(rows, borders) if len(rows) else []:
            number = int(np.searchsorted(self.starts, part[0], side="right")) - 1
            local = part - self.starts[number]
            batch = self.batches[number]
            if local[-1] - local[0] == len(local) - 1 and (np.diff(local) == 1).all():
                yield batch.slice(int(local[0]), len(local))
            else:
                yield batch.take(pa.array(local))


class ConversationTable(Sequence[Conversation]):
    """Conversations by number, decoded when asked for.

    Args:
        rows: what is on disk.
        members: the rows that belong to the table, in its order, [N] int64; None for all of them.
        languages: [N] of what was told from the text, for conversations whose source does not know; None to leave those empty.
    """

    def __init__(self, rows: BatchedRows, members: np.ndarray | None = None, languages: Sequence[str] | None = None) -> None:
        self.rows, self.languages = rows, languages
        self.members = np.arange(len(rows), dtype=np.int64) if members is None else members

    @classmethod
    def open(cls, *paths: Path) -> ConversationTable:
        """The conversations of files, one file after the other."""
        return cls(BatchedRows([batch for path in paths for batch in open_batches(path)]))

    def take(self, positions: np.ndarray, languages: Sequence[str] | None = None) -> ConversationTable:
        """Some of these conversations."""
        return ConversationTable(self.rows, self.members[positions], languages)

    @staticmethod
    def concatenated(tables: Sequence[ConversationTable]) -> ConversationTable:
        """One table after the other."""
        rows = BatchedRows([batch for table in tables for batch in table.rows.batches])
        begins = np.cumsum([0, *(len(table.rows) for table in tables)])
        members = [table.members + begin for table, begin in zip(tables, begins[:-1], strict=True)]
        return ConversationTable(rows, np.concatenate(members) if members else None)

    def __len__(self) -> int:
        return len(self.members)

    @overload
    def __getitem__(self, index: int) -> Conversation: ...
    @overload
    def __getitem__(self, index: slice) -> list[Conversation]: ...
    def __getitem__(self, index: int | slice) -> Conversation | list[Conversation]:
        chosen = range(len(self))[index]
        if isinstance(chosen, range):
            return self.read(np.asarray(chosen, dtype=np.int64))
        return self.read(np.array([chosen]))[0]

    def __iter__(self) -> Iterator[Conversation]:
        for start in self.starts():
            yield from self.block(start)

    def starts(self) -> list[int]:
        """Where blocks begin: every BLOCK conversations, and sooner where they are long."""
        return self._starts

    @cached_property
    def _starts(self) -> list[int]:
        least = BLOCK_BYTES // BLOCK
        costs = [max(least, batch.nbytes // max(1, batch.num_rows)) for batch in self.rows.batches]
        spent = np.cumsum(np.repeat(np.array(costs, dtype=np.int64), [b.num_rows for b in self.rows.batches])[self.members])
        numbers = (spent - 1) // (least * BLOCK)
        return np.flatnonzero(np.diff(numbers, prepend=-1)).tolist()

    def block(self, start: int) -> list[Conversation]:
        """The conversations from `start`, one of `starts()`, to the next."""
        following = bisect_right(self._starts, start)
        end = self._starts[following] if following < len(self._starts) else len(self)
        return self.read(np.arange(start, end))

    def read(self, positions: np.ndarray) -> list[Conversation]:
        """The conversations at `positions` [N] int64."""
        found = [c for piece in self.rows.pieces(self.members[positions]) for c in decode(piece)]
        if self.languages is None:
            return found
        return [_with_language(c, self.languages[int(i)]) for c, i in zip(found, positions, strict=True)]


def _with_language(conversation: Conversation, language: str) -> Conversation:
    if conversation.language:
        return conversation
    values: dict[str, Any] = vars(conversation)
    return Conversation(**cast(Any, values | {"language": language}))
