"""OpenAssistant Conversations: trees in which people asked and answered, and ranked the answers. As nested trees (*_ready.trees.jsonl.gz)

    {"message_tree_id": "054e..", "tree_state": "ready_for_export", "prompt": {"message_id": "054e..", "role": "prompter", "lang": "en",
     "text": "Hi", "review_result": true, "deleted": false, "synthetic": false, "replies": [
        {"role": "assistant", "rank": 0, "text": "Hello!", "replies": [], ...}]}}

or one row per message, those of a tree in a run (the hub dataset OpenAssistant/oasst1, its parquet files and *.messages.jsonl.gz):

    {"message_id": "6ab2..", "parent_id": "054e..", "message_tree_id": "054e..", "role": "assistant", "rank": 0.0, "text": "Hello!", ...}

Rank 0 is the best of the answers to one message. Apache-2.0, 35 languages, each message says its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from datamodules.sources.reply_tree import Node, all_paths, best_path, nodes_of_rows, nodes_of_tree, spread_problems
from datamodules.sources.row_groups import Found, GroupedFileSource, Refused
from kinnari.errors import ConfigError
from kinnari.text.conversation import Message


@dataclass(frozen=True, kw_only=True)
class Oasst1(GroupedFileSource):
    """Conversations out of trees.

    Args:
        paths: `best` follows the best-ranked answers and gives one conversation per tree; `all` gives every path, in which an answer
            that stood in an earlier path of its tree is read but not trained again.
        languages: ISO 639-1 codes to keep (`zh` is all of Chinese); None for all.
        min_quality: least `quality` label of a message, 0 to 1; messages without the label go as well. None asks for none.
        synthetic: keep messages written by a model.
        tree_states: states of trees to keep; None for all. In files without the column all are kept.
    """

    paths: Literal["best", "all"] = "best"
    languages: list[str] | None = None
    min_quality: float | None = None
    synthetic: bool = False
    tree_states: list[str] | None = field(default_factory=lambda: ["ready_for_export"])
    name: str = "oasst1"
    licence: str = "Apache-2.0"

    def __post_init__(self) -> None:
        """Check `paths` and `min_quality`.

        Raises:
            ConfigError: if `paths` is neither best nor all, or `min_quality` no share.
        """
        if self.paths not in ("best", "all"):
            raise ConfigError(f"data.{self.name}.paths={self.paths} is neither best nor all.")
        if self.min_quality is not None and not 0 <= self.min_quality <= 1:
            raise ConfigError(f"data.{self.name}.min_quality={self.min_quality}: quality labels lie between 0 and 1.")

    def same_group(self, previous: Any, row: Any) -> bool:
        """Messages of one tree; a nested tree is a group of its own."""
        if not isinstance(previous, dict) or not isinstance(row, dict) or "prompt" in row or "prompt" in previous:
            return False
        return isinstance(row.get("message_tree_id"), str) and row["message_tree_id"] == previous.get("message_tree_id")

    def found(self, rows: list[Any]) -> Iterator[Found | Refused]:
        """The conversations of one tree, after the messages that are left out of it."""
        first = rows[0]
        if not isinstance(first, dict) or not ("prompt" in first or "message_id" in first):
            yield Refused("a row must be a tree with 'prompt' or a message with 'message_id'", first)
            return
        nodes, loose = (nodes_of_tree(first["prompt"]), []) if "prompt" in first else nodes_of_rows(rows)
        yield from (Refused("it replies to no message of its tree", in_brief(row)) for row in loose)
        if not nodes and not loose:
            yield Refused("there is no message in the row", first)
        state = first.get("tree_state")
        if self.tree_states is not None and isinstance(state, str) and state not in self.tree_states:
            yield Refused(f"the tree is in the state {state[:40]!r}", in_brief(first))
            return
        for node in nodes:
            node.problem = self._problem(node)
        spread_problems(nodes)
        yield from (Refused(node.problem, in_brief(node.row)) for node in nodes if node.problem)
        yield from self._conversations(nodes, first)

    def _conversations(self, nodes: list[Node], first: Any) -> Iterator[Found | Refused]:
        trained: set[int] = set()
        paths = iter([best_path(nodes)]) if self.paths == "best" else all_paths(nodes)
        for path in filter(None, paths):
            messages = [
                Message(nodes[place].role or "user", nodes[place].text, trained=False if place in trained else None) for place in path
            ]
            trained |= {place for place in path if nodes[place].role == "assistant"}
            yield Found(tuple(messages), language_code(nodes[path[-1]].row.get("lang")))
        if not trained and nodes and not nodes[0].problem:
            yield Refused("no answer is left in the tree", in_brief(first))

    def _problem(self, node: Node) -> str | None:
        row = node.row
        if node.role is None or not node.text.strip():
            return "it has no known role or no text"
        if row.get("deleted") is True:
            return "it was deleted"
        if row.get("review_result") is False:
            return "it did not pass review"
        if row.get("synthetic") is True and not self.synthetic:
            return "a model wrote it"
        language = language_code(row.get("lang"))
        if self.languages is not None and language not in self.languages:
            return f"its language {language[:20]!r} is not among those asked for"
        if self.min_quality is not None:
            quality = label(row.get("labels"), "quality")
            if quality is None or quality < self.min_quality:
                return f"its quality is {'not rated' if quality is None else f'{quality:.2f}'}, less than {self.min_quality}"
        return None


def label(labels: Any, name: str) -> float | None:
    """A label's value, out of {"quality": {"value": 0.7, "count": 3}} or {"name": ["quality", ..], "value": [0.7, ..]}."""
    value = None
    if isinstance(labels, dict) and isinstance(labels.get(name), dict):
        value = labels[name].get("value")
    elif isinstance(labels, dict) and isinstance(labels.get("name"), list) and isinstance(labels.get("value"), list):
        value = next((v for n, v in zip(labels["name"], labels["value"], strict=False) if n == name), None)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def language_code(lang: Any) -> str:
    """ISO 639-1 of codes such as `pt-BR` and `uk-UA`."""
    return lang.split("-")[0].lower() if isinstance(lang, str) else ""


def in_brief(row: dict[str, Any]) -> dict[str, Any]:
    """What a reject shows of a message: not its replies, which speak for themselves."""
    return {key: row.get(key) for key in ("message_id", "role", "lang", "text") if key in row}
