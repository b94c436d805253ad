"""Files for direct preference optimisation, a prompt with a chosen and a rejected answer; any of

    {"conversations": [{"from": "human", "value": "你好"}], "chosen": {"from": "gpt", "value": "您好！"}, "rejected": {...}}
    {"prompt": "Hi", "chosen": "Hello!", "rejected": "What?", "system": "Be kind."}
    {"prompt": [{"role": "user", "content": "Hi"}], "chosen": [{"role": "assistant", "content": "Hello!"}], "rejected": [...]}
    {"chosen": [{"role": "user", ...}, {"role": "assistant", ...}], "rejected": [{"role": "user", ...}, {"role": "assistant", ...}]}

`question` and `instruction` (with `input`) stand for `prompt`; `score_chosen` and `score_rejected` are taken where both are there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from datamodules.sources.preference_columns import two_endings
from datamodules.sources.ranked import RankedFileSource, Ranking, number_of
from datamodules.sources.turns import messages_from_turns
from kinnari.text.conversation import Message

PROMPTS = ("conversations", "messages", "prompt", "question", "instruction")


@dataclass(frozen=True, kw_only=True)
class PreferencePairs(RankedFileSource):
    """Rows with a prompt, a chosen and a rejected answer, each as text, as a turn or as a list of turns."""

    name: str = "preference_pairs"

    def rank(self, row: Any) -> Ranking | str:
        """The pair of one row."""
        if not isinstance(row, dict) or "chosen" not in row or "rejected" not in row:
            return "a row must be an object with chosen and rejected, and the prompt in one of: " + ", ".join(PROMPTS)
        prompt: Any = next((row[name] for name in PROMPTS if row.get(name)), [])
        start = [{"role": "system", "content": row["system"]}] if isinstance(row.get("system"), str) else []
        asked = as_turns(prompt, "user")
        if isinstance(prompt, str) and isinstance(row.get("input"), str) and row["input"].strip():
            asked[0]["content"] = f"{prompt}\n\n{row['input']}"
        chosen, rejected = (_dialogue([*start, *asked], as_turns(row[name], "assistant")) for name in ("chosen", "rejected"))
        high, low = (number_of(row.get(name)) for name in ("score_chosen", "score_rejected"))
        if high is None or low is None:
            return two_endings(chosen, rejected)
        return two_endings(chosen, rejected, high, low) if high >= low else "score_chosen is less than score_rejected"


def as_turns(value: Any, role: str) -> list[Any]:
    """A list of turns; text becomes one turn of `role`, and a turn a list of one. The turns are `role` and `content`."""
    turns = value if isinstance(value, list) else [value]
    return [_turn({"role": role, "content": turn} if isinstance(turn, str) else turn) for turn in turns]


def _turn(turn: Any) -> Any:
    if isinstance(turn, dict) and "from" in turn and "value" in turn:
        return {"role": turn["from"], "content": turn["value"]}
    return turn


def _dialogue(asked: list[Any], answered: list[Any]) -> tuple[Message, ...] | str:
    """The whole dialogue; an answer that brings the question with it replaces the prompt, but for a system message."""
    first = next((turn for turn in answered if isinstance(turn, dict) and turn.get("role") != "system"), None)
    if first is not None and str(first.get("role")).strip().lower() in ("user", "human"):
        asked = [turn for turn in asked if isinstance(turn, dict) and turn.get("role") == "system"] if answered[0] is first else []
    last = answered[-1] if answered else None
    if not isinstance(last, dict) or str(last.get("role")).strip().lower() in ("user", "human", "system"):
        return "it does not end with an answer"
    if not isinstance(last.get("content"), str) or not last["content"].strip():
        return "the answer is empty or not text"
    return messages_from_turns([*asked, *answered], role_key="role", text_key="content")
