"""Trees of messages and their replies (OASST1), as a list in which parents stand before their replies, and the paths through one.

    Node(0, None, user "How are you?") <- Node(1, 0, assistant "Fine.", rank 0), Node(2, 0, assistant "Why?", rank 1)
    best_path -> [0, 1];   all_paths -> [0, 1], [0, 2]

Nothing here recurses, so a tree may be as deep as it likes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from kinnari.text.conversation import Role

ROLES: dict[str, Role] = {"prompter": "user", "assistant": "assistant", "user": "user"}


@dataclass
class Node:
    """One message.

    Attributes:
        parent: place of the message it replies to in the list; None for the first one.
        role, text: None and empty where the row has none.
        row: the decoded message.
        problem: why it is left out; everything below it is, too.
        replies: places of the replies, in the order of the file.
    """

    parent: int | None
    role: Role | None
    text: str
    row: dict[str, Any]
    problem: str | None = None
    replies: list[int] = field(default_factory=list)

    @property
    def rank(self) -> float:
        """0 for the best reply; infinite where nobody ranked it."""
        rank = self.row.get("rank")
        usable = isinstance(rank, (int, float)) and not isinstance(rank, bool) and not math.isnan(rank)
        return float(rank) if usable else math.inf  # type: ignore[arg-type]


def nodes_of_tree(root: Any) -> list[Node]:
    """The nodes of nested messages, each with its replies in `replies`; what is not an object is left out."""
    nodes: list[Node] = []
    waiting: list[tuple[Any, int | None]] = [(root, None)]
    while waiting:
        row, parent = waiting.pop()
        if not isinstance(row, dict):
            continue
        place = _append(nodes, row, parent)
        replies = row.get("replies")
        # Reversed, because the list is worked off from its end.
        waiting += [(reply, place) for reply in reversed(replies if isinstance(replies, list) else [])]
    return nodes


def nodes_of_rows(rows: Iterable[Any]) -> tuple[list[Node], list[dict[str, Any]]]:
    """(nodes of the tree in flat rows, rows that hang on nothing in it); rows have `message_id` and `parent_id`."""
    rows = [row for row in rows if isinstance(row, dict)]
    replies: dict[Any, list[int]] = {}
    first: int | None = None
    for number, row in enumerate(rows):
        parent = row.get("parent_id")
        if parent is None and first is None:
            first = number
        elif isinstance(parent, str):
            replies.setdefault(parent, []).append(number)
    nodes: list[Node] = []
    placed: set[int] = set()
    waiting: list[tuple[int, int | None]] = [] if first is None else [(first, None)]
    while waiting:
        number, above = waiting.pop()
        placed.add(number)
        place = _append(nodes, rows[number], above)
        name = rows[number].get("message_id")
        # pop: two messages of one name would else both have the replies, and a reply to itself would have itself for ever.
        below = replies.pop(name, []) if isinstance(name, str) else []
        waiting += [(reply, place) for reply in reversed(below)]
    return nodes, [row for number, row in enumerate(rows) if number not in placed]


def _append(nodes: list[Node], row: dict[str, Any], parent: int | None) -> int:
    role, text = row.get("role"), row.get("text")
    nodes.append(Node(parent, ROLES.get(role) if isinstance(role, str) else None, text if isinstance(text, str) else "", row))
    if parent is not None:
        nodes[parent].replies.append(len(nodes) - 1)
    return len(nodes) - 1


def spread_problems(nodes: list[Node]) -> None:
    """Leave out what replies to something left out, and what does not answer its parent; marks `problem` in place."""
    for node in nodes:
        above = nodes[node.parent] if node.parent is not None else None
        if node.problem:
            continue
        if above is None and node.role != "user":
            node.problem = "the first message is not a prompter's"
        elif above is not None and above.problem:
            node.problem = "it replies to a message that is left out"
        elif above is not None and above.role == node.role:
            node.problem = "it has the role of the message it replies to"


def best_path(nodes: list[Node]) -> list[int]:
    """From the first message the best answer, the first follow-up that was answered, its best answer, and so on; ends with an answer."""
    leads_to_answer = _leads_to_answer(nodes)
    path: list[int] = []
    place: int | None = 0 if nodes and not nodes[0].problem and leads_to_answer[0] else None
    while place is not None:
        path.append(place)
        usable = [reply for reply in nodes[place].replies if not nodes[reply].problem]
        if nodes[place].role == "user":
            place = min(usable, key=lambda reply: nodes[reply].rank)  # of equals the first
        else:
            place = next((reply for reply in usable if leads_to_answer[reply]), None)
    return path


def all_paths(nodes: list[Node]) -> Iterator[list[int]]:
    """Every path from the first message to an answer that no further answer follows, in the order of the tree."""
    leads_to_answer = _leads_to_answer(nodes)
    for place, node in enumerate(nodes):
        if node.problem or node.role != "assistant" or any(leads_to_answer[reply] for reply in node.replies):
            continue
        path: list[int] = []
        above: int | None = place
        while above is not None:
            path.append(above)
            above = nodes[above].parent
        yield path[::-1]


def _leads_to_answer(nodes: list[Node]) -> list[bool]:
    """For each node whether it is a usable question that has a usable answer."""
    return [
        not node.problem and node.role == "user" and any(not nodes[r].problem and nodes[r].role == "assistant" for r in node.replies)
        for node in nodes
    ]
