"""Train and held-out sets that share no question.

Conversations are grouped: two belong together when they share a user turn (after folding case, punctuation and spacing), in
whatever position. A whole group goes to one side, decided by a hash of its smallest question, so the side of a group depends
neither on the order of the files nor on what else is loaded, unless another source joins two groups.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from kinnari.text.conversation import Conversation, normalise_question


@dataclass(frozen=True)
class Split:
    """Indexes into the conversations that were split."""

    train: list[int]
    held_out: list[int]


def split_by_question(conversations: Sequence[Conversation], fraction: float, most: int, seed: int) -> Split:
    """Hold out about `fraction` of the conversations, at most `most` of them, whole groups only.

    Args:
        conversations: the records of all sources.
        fraction: share to hold out, in [0, 1).
        most: upper bound on the held-out records; groups that would exceed it stay in the training set.
        seed: another seed holds out other groups.
    """
    groups = question_groups(conversations)
    members: dict[str, list[int]] = {}
    for index, name in enumerate(groups):
        members.setdefault(name, []).append(index)
    budget = min(most, round(fraction * len(conversations)))
    held: list[int] = []
    for name in sorted(members, key=lambda n: hashlib.sha256(f"{seed}:{n}".encode()).digest()):
        if len(held) + len(members[name]) <= budget and len(members[name]) < len(conversations):
            held += members[name]
    chosen = set(held)
    return Split([i for i in range(len(conversations)) if i not in chosen], sorted(held))


def question_groups(conversations: Sequence[Conversation]) -> list[str]:
    """The smallest question of each conversation's group (connected components over shared user turns)."""
    parent: dict[str, str] = {}

    def root(question: str) -> str:
        while parent[question] != question:
            parent[question] = parent[parent[question]]
            question = parent[question]
        return question

    firsts: list[str] = []
    for conversation in conversations:
        turns = [m for m in conversation.messages if m.role == "user"]
        questions = [normalise_question(f"{m.content}\n{m.context}") for m in turns] or [conversation.record_id]
        for question in questions:
            parent.setdefault(question, question)
            a, b = sorted((root(questions[0]), root(question)))
            parent[b] = a
        firsts.append(questions[0])
    return [root(question) for question in firsts]
