"""The common layouts of instruction rows, each a function from a decoded row to messages:

alpaca              {"instruction": ..., "input": "", "output": ..., "system": "", "history": [["question", "answer"], ...]}
prompt_completion   {"prompt": ..., "completion": ...}                                  also with response, answer
input_output        {"input": ..., "output": ...}                                       also question and answer
sharegpt            {"conversations": [{"from": "human", "value": ...}, {"from": "gpt", "value": ...}], "system": ""}
messages            {"messages": [{"role": "user", "content": ...}, {"role": "assistant", "content": ..., "weight": 1}]}
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from datamodules.sources.alpaca import wrong_columns
from datamodules.sources.columns import wrong_text_columns
from datamodules.sources.turns import as_dialogue, messages_from_turns
from kinnari.text.conversation import Message

Columns = Mapping[str, str]
Converted = tuple[Message, ...] | str
# Other names by which a format's column is known, tried in this order where the row lacks the first.
ALIASES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "alpaca": {"output": ("response", "answer", "completion")},
    "prompt_completion": {"completion": ("response", "answer", "output")},
    "input_output": {"input": ("question", "query", "Q"), "output": ("answer", "response", "A", "target")},
    "sharegpt": {"conversations": ("conversation", "items", "dialogue", "dialog")},
    "messages": {},
}


@dataclass(frozen=True)
class Format:
    """A layout: the columns it cannot do without, those it may have, and the conversion given the columns' names in the file."""

    required: tuple[str, ...]
    optional: tuple[str, ...]
    convert: Callable[[Any, Columns], Converted]


def _alpaca(row: Any, names: Columns) -> Converted:
    problem = wrong_columns(row, [names[c] for c in ("instruction", "input", "output")])
    if problem:
        return problem
    before: list[Message] = []
    history = row.get(names["history"]) or []
    if not isinstance(history, list) or not all(
        isinstance(p, list) and len(p) == 2 and all(isinstance(t, str) for t in p) for p in history
    ):
        return f"column {names['history']!r} is not a list of [question, answer]"
    for question, answer in history:
        before += [Message("user", question), Message("assistant", answer)]
    last = Message("user", row[names["instruction"]], context=row.get(names["input"]) or ""), Message("assistant", row[names["output"]])
    return _with_system(row, names, (*before, *last))


def _pair(question: str, answer: str) -> Callable[[Any, Columns], Converted]:
    def convert(row: Any, names: Columns) -> Converted:
        problem = wrong_text_columns(row, (names[question], names[answer]))
        return problem or (Message("user", row[names[question]]), Message("assistant", row[names[answer]]))

    return convert


def _turns(column: str) -> Callable[[Any, Columns], Converted]:
    def convert(row: Any, names: Columns) -> Converted:
        turns = row if isinstance(row, list) else row.get(names[column]) if isinstance(row, dict) else None
        if turns is None:
            return f"a row must be an object with a list of turns in {names[column]!r}"
        messages = messages_from_turns(turns, *_keys(turns), trained_key="weight")
        return messages if isinstance(messages, str) or isinstance(row, list) else _with_system(row, names, messages)

    return convert


def _keys(turns: Any) -> tuple[str, str]:
    """The fields of role and text: those of the endpoints, or those of ShareGPT."""
    first = turns[0] if isinstance(turns, list) and turns and isinstance(turns[0], dict) else {}
    role = "role" if "role" in first else "from"
    return role, next((key for key in ("content", "value", "text") if key in first), "content" if role == "role" else "value")


def _with_system(row: dict[str, Any], names: Columns, messages: Iterable[Message]) -> Converted:
    system = row.get(names["system"]) or ""
    if not isinstance(system, str):
        return f"column {names['system']!r} is not text"
    return as_dialogue([Message("system", system), *messages] if system.strip() else messages)


# In the order in which `auto` tries them: a row of alpaca has an input and an output as well.
FORMATS: Mapping[str, Format] = {
    "messages": Format(("messages",), ("system",), _turns("messages")),
    "sharegpt": Format(("conversations",), ("system",), _turns("conversations")),
    "alpaca": Format(("instruction", "output"), ("input", "system", "history"), _alpaca),
    "prompt_completion": Format(("prompt", "completion"), (), _pair("prompt", "completion")),
    "input_output": Format(("input", "output"), (), _pair("input", "output")),
}


def column_names(name: str, given: Mapping[str, str | None], row: Any) -> dict[str, str]:
    """What the columns of format `name` are called in a file: as given, else by its own name, else by the first alias the row has."""
    layout, found = FORMATS[name], set(row) if isinstance(row, dict) else set()
    names = {}
    for column in (*layout.required, *layout.optional):
        aliases = [alias for alias in ALIASES[name].get(column, ()) if alias in found]
        names[column] = given.get(column) or (column if column in found or not aliases else aliases[0])
    return names


def detect(row: Any, given: Mapping[str, str | None]) -> str | None:
    """The first format whose required columns a row has, or None."""
    if isinstance(row, list) and row and all(isinstance(turn, dict) for turn in row):
        return "messages"
    if not isinstance(row, dict):
        return None
    for name, layout in FORMATS.items():
        names = column_names(name, given, row)
        if all(names[column] in row for column in layout.required):
            return name
    return None
