"""The texts of a conversation that a step looks at or edits, by name.

    system      what stands in system turns
    questions   what stands in user turns, without their context
    inputs      what each user turn is about: its context where it has one, else the question (the `input` of an alpaca row)
    contexts    the contexts alone
    answers     what stands in assistant turns

texts(Conversation(user "Translate" context "Sure! Hi", assistant "แน่นอน"), ("inputs", "answers")) -> ["Sure! Hi", "แน่นอน"]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from kinnari.errors import ConfigError
from kinnari.text.conversation import Conversation, Message

PARTS = ("system", "questions", "inputs", "contexts", "answers")
ALL = ("system", "questions", "contexts", "answers")
DEEPEST = 8  # passes of an edit that may uncover new work for itself


def check_where(where: Sequence[str], step: object) -> None:
    """Refuse names that are not parts of a conversation.

    Raises:
        ConfigError: if there are none, or one is unknown.
    """
    unknown = [part for part in where if part not in PARTS]
    if unknown or not where:
        raise ConfigError(
            f"{type(step).__name__}: where={list(where)} must name one or more of {', '.join(PARTS)}. For example where=[answers]."
        )


def texts(conversation: Conversation, where: Sequence[str]) -> list[str]:
    """The texts of the parts named, in the order of the turns; those that are empty as well."""
    found: list[str] = []
    for message in conversation.messages:
        found += [message.context if field == "context" else message.content for field in _fields(message, where)]
    return found


def joined(conversation: Conversation, where: Sequence[str]) -> str:
    """The texts of the parts named, a line break between two."""
    return "\n".join(texts(conversation, where))


def edit(conversation: Conversation, where: Sequence[str], change: Callable[[str], str | None]) -> Conversation | str:
    """The conversation with every text of the parts named changed, or the reason why that leaves none.

    Args:
        change: the new text; None when it cannot be had.
    """
    messages: list[Message] = []
    for message in conversation.messages:
        new: dict[str, str] = {}
        for field in _fields(message, where):
            text = message.context if field == "context" else message.content
            changed = change(text)
            if changed is None:
                return f"the {message.role} turn cannot be cleaned in {DEEPEST} passes"
            if text.strip() and not changed.strip() and field == "content":
                return f"nothing is left of the {message.role} turn"
            new[field] = changed
        messages.append(_edited(message, new.get("content", message.content), new.get("context", message.context)))
    if all(new is old for new, old in zip(messages, conversation.messages, strict=True)):
        return conversation
    return replace(conversation, messages=tuple(messages))


def _edited(message: Message, content: str, context: str) -> Message:
    if content == message.content and context == message.context:
        return message
    return replace(message, content=content, context=context)


def until_stable(change: Callable[[str], str]) -> Callable[[str], str | None]:
    """`change`, applied until it changes nothing; None for a text that is not done after DEEPEST passes.

    So an edit done twice is the edit done once, also where taking something out brings two halves of another together.
    """

    def repeated(text: str) -> str | None:
        for _ in range(DEEPEST):
            changed = change(text)
            if changed == text:
                return text
            text = changed
        return None

    return repeated


def shown(text: str, most: int = 40) -> str:
    """A text shortened for a reason that is read by people, control characters visible."""
    return repr(text if len(text) <= most else text[:most] + "…")


def first_match(candidates: Iterable[str], test: Callable[[str], bool]) -> str | None:
    """The first candidate that passes the test."""
    return next((candidate for candidate in candidates if test(candidate)), None)


def _fields(message: Message, where: Sequence[str]) -> list[str]:
    """Which of content and context are meant, each once."""
    if message.role != "user":
        return ["content"] if ("answers" if message.role == "assistant" else "system") in where else []
    content = "questions" in where or ("inputs" in where and not message.context.strip())
    context = bool(message.context) and ("contexts" in where or "inputs" in where)
    return ["content"] * content + ["context"] * (context and bool(message.context.strip()))
