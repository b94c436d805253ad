"""Conversations for the tests of cleaning."""

from __future__ import annotations

from kinnari.text.conversation import Conversation, Message


def chat(
    question: str = "Q", answer: str | None = "A", context: str = "", source: str = "s", language: str = "", number: int = 0
) -> Conversation:
    """One question and one answer; none where `answer` is None."""
    answers = () if answer is None else (Message("assistant", answer),)
    return Conversation(
        messages=(Message("user", question, context=context), *answers),
        record_id=f"{source}:{number}",
        source=source,
        language=language,
        licence="CC0-1.0",
    )


def turns(*contents: str, system: str = "") -> Conversation:
    """User and assistant in turn, after a system turn if there is one."""
    first = (Message("system", system),) if system else ()
    said = tuple(Message("assistant" if i % 2 else "user", content) for i, content in enumerate(contents))
    return Conversation(messages=(*first, *said), record_id="t:0", source="t", language="", licence="CC0-1.0")


def answer_of(result: Conversation | str) -> str:
    """The answer of a conversation that was kept."""
    assert isinstance(result, Conversation), result
    return result.reference()
