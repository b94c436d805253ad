"""The second stage: steps, in order, over conversations on disk; what a step takes out is written down with its name.

Neighbouring row steps are one pass of all processes over the data. A set step is a pass that computes signatures, which wait on disk,
and a decision in this process, which sees them all. Steps that only look leave the text where it was read.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from kinnari.cleaning.step import RowStep, SetStep, Step
from kinnari.errors import ConfigError
from kinnari.preparation.conversations import BLOCK, SCHEMA, ArrowWriter, ConversationTable, encode, flaw_of, from_bytes, to_bytes
from kinnari.preparation.reading import REJECTS
from kinnari.preparation.rejects import removed_line
from kinnari.preparation.store import COUNTS
from kinnari.preparation.workers import ordered_map, worker_count
from kinnari.text.conversation import Conversation
from kinnari.text.language import language_of
from kinnari.text.progress import progress_line

MEMBERS = "members.npy"
CLEANED = "conversations-{}.arrow"
NOT_DRAWN = "limit"  # what rows beyond a source's `limit` are counted under; they are not rejected


@dataclass
class Removed:
    """Conversations taken out: step -> source -> language -> how many; and per step how many it changed."""

    counts: dict[str, dict[str, Counter[str]]] = field(default_factory=dict)
    changed: Counter[str] = field(default_factory=Counter)

    def add(self, step: str, source: str, language: str, count: int = 1) -> None:
        """Count a conversation that `step` took out."""
        self.counts.setdefault(step, {}).setdefault(source, Counter())[language] += count

    def merge(self, other: Removed) -> None:
        """Add what another process counted."""
        for step, sources in other.counts.items():
            for source, languages in sources.items():
                for language, count in languages.items():
                    self.add(step, source, language, count)
        self.changed.update(other.changed)


@dataclass(frozen=True)
class _Pass:
    """What a process returns for a block: the conversations that stay, lines of those that go, counts."""

    kept: bytes
    positions: list[int]  # of those that stay, within the table
    lines: list[str]
    removed: Removed


def clean(
    table: ConversationTable,
    steps: Mapping[str, Step],
    folder: Path,
    workers: int | str = "auto",
    drawn: Callable[[int], np.ndarray] | None = None,
    show: bool = True,
) -> None:
    """Write what is left of `table` after `steps` into `folder`; `open_cleaned` reads it.

    Args:
        steps: name -> step, in order.
        workers: processes, or `auto`; the result does not depend on it.
        drawn: for the number left, the positions of those that are kept (a source's limit).

    Raises:
        ConfigError: a step is none.
    """
    for name, step in steps.items():
        if not isinstance(step, RowStep | SetStep):
            raise ConfigError(f"the cleaning step {name} is a {type(step).__name__}; its class must derive from RowStep or SetStep.")
    removed = Removed()
    current, written = table, 0
    with open(folder / REJECTS, "w", encoding="utf-8") as rejects:
        for is_set, group in itertools.groupby(steps.items(), key=lambda item: isinstance(item[1], SetStep)):
            for batch in [[item] for item in group] if is_set else [list(group)]:
                count = worker_count(workers, len(current))
                if is_set:
                    ((name, step),) = batch
                    current, lines = _set_step(current, name, step, folder, count, removed, show)
                    rejects.writelines(lines)
                else:
                    path = folder / CLEANED.format(written)
                    current = _row_steps(current, dict(batch), path, count, removed, rejects.write, show)
                    written += path.exists()
    before = len(current)
    if drawn is not None:
        current = current.take(drawn(before))
    _finish(current, removed, before - len(current), [*steps], written, folder)


def _finish(table: ConversationTable, removed: Removed, not_drawn: int, steps: list[str], written: int, folder: Path) -> None:
    np.save(folder / MEMBERS, table.members)
    for old in range(written - 1):
        (folder / CLEANED.format(old)).unlink()
    counts = {
        "kept": len(table),
        "steps": steps,
        "removed": {step: removed.counts.get(step, {}) for step in steps},
        "changed": {step: removed.changed[step] for step in steps},
        "not_drawn": not_drawn,
        "written": written - 1 if written else None,
    }
    (folder / COUNTS).write_text(json.dumps(counts), encoding="utf-8")


def open_cleaned(folder: Path, table: ConversationTable) -> ConversationTable:
    """What is left of `table`: the one that was cleaned into `folder`."""
    written = json.loads((folder / COUNTS).read_text(encoding="utf-8"))["written"]
    rows = table.rows if written is None else ConversationTable.open(folder / CLEANED.format(written)).rows
    return ConversationTable(rows, np.load(folder / MEMBERS))


def _row_steps(
    table: ConversationTable,
    steps: dict[str, Step],
    path: Path,
    workers: int,
    removed: Removed,
    reject: Callable[[str], object],
    show: bool,
) -> ConversationTable:
    def one_block(start: int) -> _Pass:
        return _apply(table.block(start), start, steps)

    positions: list[np.ndarray] = []
    before = removed.changed.total()
    with ExitStack() as stack:
        out = stack.enter_context(ArrowWriter(path, SCHEMA))
        advance = stack.enter_context(progress_line(f"cleaning ({', '.join(steps)})", len(table), show))
        for start, done in zip(table.starts(), ordered_map(one_block, table.starts(), workers), strict=True):
            out.write(from_bytes(done.kept))
            positions.append(np.array(done.positions, dtype=np.int64))
            for line in done.lines:
                reject(line)
            removed.merge(done.removed)
            advance(start)
    if removed.changed.total() == before:
        path.unlink()  # the text stands where it was read
        return table.take(np.concatenate(positions) if positions else np.zeros(0, np.int64))
    return ConversationTable.open(path)


def _apply(block: list[Conversation], start: int, steps: Mapping[str, Step]) -> _Pass:
    kept: list[Conversation] = []
    positions: list[int] = []
    lines: list[str] = []
    removed = Removed()
    for position, conversation in enumerate(block, start):
        for name, step in steps.items():
            assert isinstance(step, RowStep)
            result = step(conversation)
            if result is not conversation and isinstance(result, Conversation):
                result = flaw_of(result) or result
            if isinstance(result, str):
                lines.append(removed_line(conversation, result, name))
                removed.add(name, conversation.source, told_language(conversation))
                break
            removed.changed[name] += int(result is not conversation and result != conversation)
            conversation = result
        else:
            kept.append(conversation)
            positions.append(position)
    return _Pass(to_bytes(encode(kept)), positions, lines, removed)


def told_language(conversation: Conversation) -> str:
    """The language of its answers: as the source says, else as the text tells."""
    return conversation.language or language_of(conversation.reference() or conversation.question)


def _set_step(
    table: ConversationTable, name: str, step: Step, folder: Path, workers: int, removed: Removed, show: bool
) -> tuple[ConversationTable, Iterator[str]]:
    assert isinstance(step, SetStep)
    signatures = _signatures(table, name, step, folder / "signatures.bin", workers, show)
    superfluous = step.duplicate_of(signatures)
    del signatures
    (folder / "signatures.bin").unlink(missing_ok=True)
    gone = np.flatnonzero(superfluous >= 0)

    def lines() -> Iterator[str]:
        for start in range(0, len(gone), BLOCK):
            positions = gone[start : start + BLOCK]
            for conversation, kept in zip(table.read(positions), table.read(superfluous[positions]), strict=True):
                removed.add(name, conversation.source, told_language(conversation))
                yield removed_line(conversation, f"the same as {kept.record_id}, or nearly", name)

    return table.take(np.flatnonzero(superfluous < 0)), lines()


def _signatures(table: ConversationTable, name: str, step: SetStep, path: Path, workers: int, show: bool) -> np.ndarray:
    """[N, K] uint64 of all conversations: memory-mapped, since a million of 128 numbers are a gigabyte."""

    def one_block(start: int) -> np.ndarray:
        return np.stack([np.asarray(step.signature(c), dtype=np.uint64) for c in table.block(start)])

    width = 1
    with open(path, "wb") as out, progress_line(f"comparing ({name})", len(table), show) as advance:
        for start, block in zip(table.starts(), ordered_map(one_block, table.starts(), workers), strict=True):
            width = block.shape[1]
            out.write(np.ascontiguousarray(block).tobytes())
            advance(start)
    if len(table) == 0:
        return np.zeros((0, width), np.uint64)
    return np.memmap(path, dtype=np.uint64, mode="r", shape=(len(table), width))
