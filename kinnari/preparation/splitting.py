"""The split: train and held-out sets that share no question, decided from 64-bit hashes, so that a million texts need megabytes.

Conversations are grouped: two belong together when they share a user turn (case, punctuation and spacing folded away), in whatever
position, or, if asked for, when two turns are nearly the same. A whole group goes to one side, decided by the smallest hash among its
questions; so the side of a group depends neither on the order of the files nor on what else is loaded, unless another source
joins two groups. Two questions with the same hash would only be kept on one side.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kinnari.preparation.conversations import ConversationTable
from kinnari.preparation.store import COUNTS
from kinnari.preparation.workers import ordered_map, worker_count
from kinnari.text.minhash import join_labels, near_groups, signature
from kinnari.text.progress import progress_line
from kinnari.text.split import LONG_NGRAM, SHORT, SHORT_NGRAM, held_out_budget, questions_of

RANKS = "ranks.npy"
PERMUTATIONS = 128


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """What is held out.

    Args:
        fraction: share of the conversations of which something can be trained, in [0, 1); None holds out `most`, exactly so many where
            groups allow.
        most: upper bound; groups that would exceed it stay in the training set.
        seed: another seed holds out other groups.
        near_duplicates: questions at least this alike (Jaccard similarity of character n-grams) count as one; None: only equal ones.
    """

    fraction: float | None = 0.05
    most: int = 256
    seed: int = 42
    near_duplicates: float | None = None


@dataclass(frozen=True)
class _Questions:
    """Of some conversations: how many questions each has, and for every question its hash and length, and perhaps signatures."""

    per_record: np.ndarray
    hashes: np.ndarray
    lengths: np.ndarray
    signatures: bytes


def rank_questions(
    table: ConversationTable, seed: int, near_duplicates: float | None, folder: Path, workers: int | str = "auto", show: bool = True
) -> None:
    """Write the rank of each conversation's group, [N] uint64, into `folder`; arguments as of `HeldOut`."""
    signatures = folder / "signatures.bin"
    found = _hashed(table, seed, near_duplicates, signatures, worker_count(workers, len(table)), show)
    same = None if near_duplicates is None else _near(found.lengths, signatures, near_duplicates)
    signatures.unlink()
    records = np.repeat(np.arange(len(table)), found.per_record)
    ranks = group_ranks(records, found.hashes, len(table), same)
    np.save(folder / RANKS, ranks)
    (folder / COUNTS).write_text(json.dumps({"groups": len(np.unique(ranks))}), encoding="utf-8")


def held_out_of(ranks: np.ndarray, usable: np.ndarray, settings: HeldOut) -> np.ndarray:
    """Which conversations are held out, [N] bool, of those that are `usable` (numbers) the number asked for.

    A conversation of which nothing can be trained is on the side of its group, and counts for nothing.
    """
    held = chosen(ranks[usable], held_out_budget(len(usable), settings.fraction, settings.most))
    return np.isin(ranks, ranks[usable[held]])


def _hashed(table: ConversationTable, seed: int, near: float | None, signatures: Path, workers: int, show: bool) -> _Questions:
    """The questions of all conversations; their signatures go to a file, should they be wanted."""

    def one_block(start: int) -> _Questions:
        texts = [questions_of(c) for c in table.block(start)]
        flat = [text for turns in texts for text in turns]
        compared = b""
        if near is not None:
            compared = b"".join(signature(text, PERMUTATIONS, n).tobytes() for text in flat for n in (SHORT_NGRAM, LONG_NGRAM))
        hashes = np.array([question_hash(text, seed) for text in flat], dtype=np.uint64)
        return _Questions(np.array([len(t) for t in texts]), hashes, np.array([len(t) for t in flat]), compared)

    parts: list[_Questions] = []
    with open(signatures, "wb") as out, progress_line("looking for equal questions", len(table), show) as advance:
        for start, part in zip(table.starts(), ordered_map(one_block, table.starts(), workers), strict=True):
            out.write(part.signatures)
            parts.append(_Questions(part.per_record, part.hashes, part.lengths, b""))
            advance(start)
    columns = zip(*((p.per_record, p.hashes, p.lengths) for p in parts), strict=True)
    per_record, hashes, lengths = (np.concatenate(column) for column in columns)
    return _Questions(per_record, hashes, lengths, b"")


def question_hash(question: str, seed: int) -> int:
    """64 bits that name a normalised question under a seed; they also are its rank in the draw."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{question}".encode("utf-8", "surrogatepass")).digest()[:8], "big")


def _near(lengths: np.ndarray, path: Path, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of questions (numbers) that are nearly the same; short and long ones are compared as in `near_duplicate_groups`."""
    rows = np.memmap(path, dtype=np.uint64, mode="r", shape=(len(lengths), 2, PERMUTATIONS))
    left, right = [], []
    for column, members in enumerate((np.flatnonzero(lengths < SHORT / threshold), np.flatnonzero(lengths >= SHORT))):
        if len(members) == 0:
            continue
        first = near_groups(rows[members, column], threshold)
        left.append(members)
        right.append(members[first])
    return np.concatenate(left), np.concatenate(right)


def group_ranks(records: np.ndarray, hashes: np.ndarray, count: int, same: tuple[np.ndarray, np.ndarray] | None = None) -> np.ndarray:
    """The smallest hash of each record's group, [count] uint64: equal for records of one group alone.

    Args:
        records: [Q] the record that asks question q.
        hashes: [Q] uint64.
        count: records; every one asks something.
        same: pairs of question numbers to be taken for equal.
    """
    names, question = np.unique(hashes, return_inverse=True)
    # Records 0..count-1 and, after them, the different questions: the vertices of a graph with an edge for "asks".
    labels = join_labels(np.arange(count + len(names)), records, count + question)
    if same is not None:
        labels = join_labels(labels, count + question[same[0]], count + question[same[1]])
    smallest = np.full(count + len(names), np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(smallest, labels[count:], names)
    return smallest[labels[:count]]


def chosen(ranks: np.ndarray, budget: int) -> np.ndarray:
    """Which records are held out, [N] bool: whole groups by rank, those left out that exceed the budget or are everything."""
    groups, member, sizes = np.unique(ranks, return_inverse=True, return_counts=True)
    taken = np.zeros(len(groups), dtype=bool)
    left = budget
    for group, size in enumerate(sizes.tolist()):
        if left <= 0:
            break
        if size <= left and size < len(ranks):
            taken[group] = True
            left -= size
    return taken[member]
