"""ShareGPT: conversations with ChatGPT that their users shared, a json list (or json lines) of

    {"id": "QWJhYvA_0", "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello! How can I help?"}]}

Older dumps name the list `items`. In the wild: answers as the HTML of the page, "Copy code" left over from its buttons, turns that occur
twice in a row, conversations that begin in the middle, empty turns, and answers of other services (bing, bard). Languages are mixed.
The users own what they wrote, the service's terms bind the answers, and no dump has a licence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from datamodules.sources.page_remnants import text_of_page
from datamodules.sources.source import FileSource
from datamodules.sources.turns import ROLES, messages_from_turns
from kinnari.text.conversation import Message

WITHOUT_OTHERS = {name: role for name, role in ROLES.items() if name not in ("bing", "bard")}


@dataclass(frozen=True, kw_only=True)
class ShareGPT(FileSource):
    """A dump of shared conversations.

    Args:
        other_services: keep conversations with answers of Bing or Bard.
    """

    other_services: bool = False
    name: str = "sharegpt"

    def convert(self, row: Any) -> tuple[Message, ...] | str:
        """The turns, cleaned of what the web page left in them."""
        if not isinstance(row, dict):
            return f"a row must be an object with 'conversations', this one is a {type(row).__name__}"
        turns = row.get("conversations", row.get("items"))
        if turns is None:
            return f"there is no 'conversations' (or 'items'); found: {', '.join(str(key)[:40] for key in list(row)[:20]) or 'nothing'}"
        if not isinstance(turns, list):
            return "'conversations' is not a list of turns"
        roles = ROLES if self.other_services else WITHOUT_OTHERS
        return messages_from_turns(without_repeats([text_of_page_turn(turn) for turn in turns]), roles=roles)


def text_of_page_turn(turn: Any) -> Any:
    """The turn with its value as plain text; anything that is no turn as it is."""
    if isinstance(turn, dict) and isinstance(turn.get("value"), str):
        return {**turn, "value": text_of_page(turn["value"])}
    return turn


def without_repeats(turns: list[Any]) -> list[Any]:
    """Turns without those that say what the one before said, by the same speaker: a click sent twice."""
    said = [_said(turn) for turn in turns]
    return [turn for i, turn in enumerate(turns) if not i or said[i] is None or said[i] != said[i - 1]]


def _said(turn: Any) -> tuple[str, str] | None:
    # Only text is compared: values may be nested deeper than Python compares.
    speaker, text = (turn.get("from"), turn.get("value")) if isinstance(turn, dict) else (None, None)
    return (speaker, text) if isinstance(speaker, str) and isinstance(text, str) else None
