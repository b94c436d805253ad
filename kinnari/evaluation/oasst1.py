"""WangChanGLM's evaluation set out of OpenAssistant/oasst1: the question that opens each tree, and the answer people liked best.

    opening message of a tree  ->  prompt      its liked-most reply  ->  answer      thumbs up less thumbs down, neither below 0

As prior figures have it, train and validation of oasst1 give 166 Thai, 42 Japanese and 37 Vietnamese rows (PyThaiNLP/WangChanGLM,
data/oasst1_selected.csv). Messages come one a row or as nested trees.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

COLUMNS = ("lang", "message_tree_id", "message_id", "parent_id", "prompt_nb_net_plus", "answer_nb_net_plus", "prompt", "answer")


def select(rows: Iterable[Mapping[str, Any]], languages: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Rows of COLUMNS, by language in the order asked for and within it as the trees come.

    Args:
        rows: messages, or trees under `prompt`.
        languages: ISO 639-1; None takes all.

    `message_id` and `parent_id` are both the opening message's, as in the published file.
    """
    messages = [message for row in rows for message in _messages(row) if not message.get("deleted")]
    replies: dict[Any, list[Mapping[str, Any]]] = {}
    openings: dict[Any, Mapping[str, Any]] = {}
    for message in messages:
        tree = message.get("message_tree_id")
        if message.get("role") == "assistant":
            replies.setdefault(message.get("parent_id"), []).append(message)
        elif tree not in openings or _date(message) < _date(openings[tree]):
            openings[tree] = message
    found = [_row(opening, replies.get(opening["message_id"], [])) for opening in openings.values()]
    kept = [row for row in found if row is not None and (languages is None or row["lang"] in languages)]
    order = {language: i for i, language in enumerate(languages or ())}
    return sorted(kept, key=lambda row: order.get(row["lang"], 0))


def net_votes(message: Mapping[str, Any]) -> int:
    """Thumbs up less thumbs down, out of {"+1": 3} or {"name": ["+1"], "count": [3]}; 0 where nobody voted."""
    emojis = message.get("emojis") or {}
    if "name" in emojis and "count" in emojis:
        emojis = dict(zip(emojis["name"], emojis["count"], strict=True))
    return int(emojis.get("+1") or 0) - int(emojis.get("-1") or 0)


def _row(opening: Mapping[str, Any], replies: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    if not replies:
        return None
    best = min(replies, key=lambda reply: (-net_votes(reply), _date(reply)))
    asked, answered = net_votes(opening), net_votes(best)
    if asked < 0 or answered < 0:
        return None
    name = opening["message_id"]
    values = (opening.get("lang"), opening.get("message_tree_id"), name, name, asked, answered, opening.get("text"), best.get("text"))
    return dict(zip(COLUMNS, values, strict=True))


def _date(message: Mapping[str, Any]) -> str:
    """ISO 8601, which sorts as text; messages of nested trees have none and stand in their order."""
    return str(message.get("created_date") or "")


def _messages(row: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The row itself, or every message of the tree it holds, parents before their replies."""
    if not isinstance(row.get("prompt"), Mapping):
        yield row
        return
    waiting = [dict(row["prompt"])]
    while waiting:
        message = waiting.pop(0)
        yield message | {"message_tree_id": row.get("message_tree_id")}
        waiting += [{"parent_id": message.get("message_id")} | reply for reply in message.get("replies") or []]
