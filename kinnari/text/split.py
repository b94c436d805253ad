"""Train and held-out sets that share no question.

Conversations are grouped: two belong together when they share a user turn (after folding case, punctuation and spacing), in
whatever position, or, if asked for, when two of their turns are nearly the same. A whole group goes to one side, decided by a
hash of its smallest question, so the side of a group depends neither on the order of the files nor on what else is loaded,
unless another source joins two groups.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kinnari.text.conversation import Conversation, Message, normalise_question
from kinnari.text.minhash import join_labels, near_groups, signature
from kinnari.text.progress import progress_line

SHORT, SHORT_NGRAM, LONG_NGRAM = 100, 3, 5


@dataclass(frozen=True)
class Split:
    """Indexes into the conversations that were split."""

    train: list[int]
    held_out: list[int]


def split_by_question(
    conversations: Sequence[Conversation], fraction: float, most: int, seed: int, near_duplicates: float | None = None
) -> Split:
    """Hold out about `fraction` of the conversations, at most `most` of them, whole groups only.

    Args:
        conversations: the records of all sources.
        fraction: share to hold out, in [0, 1).
        most: upper bound on the held-out records; groups that would exceed it stay in the training set.
        seed: another seed holds out other groups.
        near_duplicates: questions at least this alike (Jaccard similarity of character n-grams) count as one; None: only equal ones.
    """
    return split_groups(question_groups(conversations, near_duplicates), fraction, most, seed)


def held_out_budget(count: int, fraction: float | None, most: int) -> int:
    """Records of `count` to hold out at most."""
    return most if fraction is None else min(most, round(fraction * count))


def why_nothing_held_out(count: int, fraction: float | None, most: int) -> str:
    """What to tell of a held-out set that is empty though one was wanted; "" where none was."""
    wanted = held_out_budget(count, fraction, most)
    if wanted:
        why = f"held_out asks for {wanted} records, and each group of records that share questions is larger"
    elif fraction and most:
        why = f"held_out.fraction={fraction} of {count} records is less than one. Set held_out.fraction=null held_out.most=N to hold out N"
    else:
        return ""
    return f"nothing is held out, so nothing is measured before and after: {why}"


def split_groups(groups: Sequence[str], fraction: float | None, most: int, seed: int) -> Split:
    """`split_by_question` where the name of each record's group is known; without a fraction `most` alone is the bound."""
    members: dict[str, list[int]] = {}
    for index, name in enumerate(groups):
        members.setdefault(name, []).append(index)
    budget = held_out_budget(len(groups), fraction, most)
    held: list[int] = []
    for name in sorted(members, key=lambda n: hashlib.sha256(f"{seed}:{n}".encode("utf-8", "surrogatepass")).digest()):
        if len(held) + len(members[name]) <= budget and len(members[name]) < len(groups):
            held += members[name]
    chosen = set(held)
    return Split([i for i in range(len(groups)) if i not in chosen], sorted(held))


def question_groups(conversations: Sequence[Conversation], near_duplicates: float | None = None) -> list[str]:
    """The smallest question of each conversation's group (connected components over shared user turns)."""
    return join_questions([questions_of(conversation) for conversation in conversations], near_duplicates)


def questions_of(conversation: Conversation) -> list[str]:
    """The user turns with their contexts, normalised; the whole text where there is none, as of plain text. Never empty."""
    turns = [m for m in conversation.messages if m.role == "user"] or [Message("user", "\n".join(m.content for m in conversation.messages))]
    return [normalise_question(f"{m.content}\n{m.context}") for m in turns]


def join_questions(questions: Sequence[Sequence[str]], near_duplicates: float | None = None) -> list[str]:
    """Per record the smallest question of its group, given every record's questions, normalised."""
    parent: dict[str, str] = {}

    def root(question: str) -> str:
        while parent[question] != question:
            parent[question] = parent[parent[question]]
            question = parent[question]
        return question

    def join(one: str, other: str) -> None:
        a, b = sorted((root(one), root(other)))
        parent[b] = a

    for turns in questions:
        for question in turns:
            parent.setdefault(question, question)
            join(turns[0], question)
    if near_duplicates is not None:
        texts = list(parent)
        for text, first in zip(texts, near_duplicate_groups(texts, near_duplicates), strict=True):
            join(texts[first], text)
    return [root(turns[0]) for turns in questions]


def near_duplicate_groups(texts: Sequence[str], threshold: float = 0.8, num_perm: int = 128, show: bool = True) -> np.ndarray:
    """For each text the index of the first one of its group of near-duplicates, [N] int64.

    Short texts are compared by n-grams of 3 characters, long ones by n-grams of 5: with 5 a single changed character makes two short
    Chinese questions strangers, with 3 long English texts are alike whatever they are about. Lengths of two texts that are
    `threshold` alike differ by that factor at most, so texts up to 100 / threshold characters are compared as short ones as well.

    Args:
        texts: any strings; 128 permutations take 1 KiB a text.
        threshold: of the estimated Jaccard similarity, in (0, 1].
        num_perm: see `kinnari.text.minhash.signature`.
        show: whether a progress line may appear.
    """
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    short = np.flatnonzero(lengths < SHORT / threshold)
    long = np.flatnonzero(lengths >= SHORT)
    groups = np.arange(len(texts), dtype=np.int64)
    with progress_line("comparing questions", len(short) + len(long), show=show) as advance:
        done = 0
        for members, ngram in ((short, SHORT_NGRAM), (long, LONG_NGRAM)):
            rows = np.empty((len(members), num_perm), dtype=np.uint64)
            for i, member in enumerate(members.tolist()):
                rows[i] = signature(texts[member], num_perm, ngram)
                advance(done := done + 1)
            first = near_groups(rows, threshold)
            apart = first != np.arange(len(members))
            groups = join_labels(groups, members[apart], members[first[apart]])
    return groups
