"""Lists of turns, the layout of ShareGPT, of the chat endpoints and of most dialogue sets, as messages:

    [{"from": "human", "value": "สวัสดี"}, {"from": "gpt", "value": "สวัสดีครับ"}]
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]

A user turn may have a `context` beside its text: the passage it refers to, as `task=translate` and the reject files write it.

What is done about the defects that such lists have in the wild:

    answers before the first question     left off: nothing says what they answer
    a question at the end, unanswered     left off: there is nothing to learn from it
    two turns of one role in a row        one turn, an empty line between: templates need the roles to alternate
    an empty turn                         the dialogue ends before it: what follows may depend on what is missing
    an unknown role, a tool, an image     the whole row is rejected; so is a system message after the first turn
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from kinnari.text.conversation import Message, Role

# Names in use for the three roles, in small letters. The machine's names are those of the services ShareGPT was shared from.
ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "system",
    "human": "user",
    "user": "user",
    "prompter": "user",
    "instruction": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "gpt4": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "bing": "assistant",
    "bard": "assistant",
}


def messages_from_turns(
    turns: Any,
    role_key: str = "from",
    text_key: str = "value",
    roles: Mapping[str, Role] = ROLES,
    trained_key: str | None = None,
) -> tuple[Message, ...] | str:
    """The messages of a list of turns, ending with an answer, or the reason why there are none.

    Args:
        turns: a decoded value of any type.
        role_key, text_key: the fields of a turn.
        roles: a turn's role in small letters -> the role of the message.
        trained_key: field that says whether an answer is trained (true or 1) or not (false or 0); absent leaves it open.
    """
    if not isinstance(turns, list) or not turns:
        return "the turns are missing, empty or not a list"
    messages: list[Message] = []
    for number, turn in enumerate(turns, start=1):
        message = _message(turn, role_key, text_key, roles, trained_key)
        if isinstance(message, str):
            return f"turn {number} {message}"
        if not message.content.strip():
            # An empty system message says nothing and hides nothing.
            if message.role == "system":
                continue
            break
        messages.append(message)
    return as_dialogue(messages)


def as_dialogue(messages: Iterable[Message]) -> tuple[Message, ...] | str:
    """Messages in a form every template can render: system first if at all, then question and answer in turns."""
    kept: list[Message] = []
    for message in messages:
        last = kept[-1].role if kept else None
        if message.role == "assistant" and last in (None, "system"):
            continue
        if message.role == "system" and last not in (None, "system"):
            return "a system message stands after the first turn; it may only come first"
        if message.role == last:
            kept[-1] = _joined(kept[-1], message)
        else:
            kept.append(message)
    if kept and kept[-1].role == "user":
        kept.pop()
    if not kept or kept[-1].role != "assistant":
        return "no question with an answer to it is in the dialogue"
    return tuple(kept)


def _joined(first: Message, second: Message) -> Message:
    # Where one part is not to be trained the turn is not: a turn is trained as a whole.
    trained = False if False in (first.trained, second.trained) else first.trained or second.trained
    context = "\n\n".join(part for part in (first.context, second.context) if part)
    return replace(first, content=f"{first.content}\n\n{second.content}", context=context, trained=trained)


def _message(turn: Any, role_key: str, text_key: str, roles: Mapping[str, Role], trained_key: str | None) -> Message | str:
    if not isinstance(turn, dict):
        return f"must be an object with {role_key!r} and {text_key!r}, it is a {type(turn).__name__}"
    name = turn.get(role_key)
    role = roles.get(name.strip().lower()) if isinstance(name, str) else None
    if role is None:
        return f"has the role {name[:40] if isinstance(name, str) else type(name).__name__!r}; known are: {', '.join(roles)}"
    if turn.get("tool_calls") or turn.get("function_call"):
        return "calls a tool, which is not text"
    text = _text(turn.get(text_key))
    if text is None:
        return f"has no text in {text_key!r}"
    mark = turn.get(trained_key) if trained_key and role == "assistant" else None
    passage = turn.get("context") if role == "user" else None
    trained = bool(mark) if isinstance(mark, (bool, int, float)) else None
    return Message(role, text, context=passage if isinstance(passage, str) else "", trained=trained)


def _text(content: Any) -> str | None:
    """A string, or the texts of a list of parts {"type": "text", "text": ...}; None for anything else, images among it."""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and content:
        texts = [part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None for part in content]
        return "\n".join(texts) if all(isinstance(text, str) for text in texts) else None  # type: ignore[arg-type]
    return None
