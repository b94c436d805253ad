"""A chat model that does not talk about some topics: questions are checked before it is asked, answers before they are shown.

An answer is held back sentence by sentence: a sentence is passed on after it, and it together with the one before, has been compared.
So nothing that the guard knows is ever on a screen, not even for a moment, and an answer comes in sentences rather than tokens.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace

from kinnari.serving.chat_model import ChatModel, ChatRequest, FinishReason, Reply
from kinnari.serving.guard import Guard, Hit, Passages, reply_for
from kinnari.text.conversation import Message

log = logging.getLogger(__name__)


class GuardedModel:
    """A `ChatModel` around another; so the page, the API and the terminal are guarded alike.

    Checked is what asks: all turns after the last answer, or all of a prompt that is to be gone on with. Of what was said before (a client
    of the API may write there what it likes) the model does not see the exchanges that are about a topic. The system prompt is not
    checked: it may well name what is not to be talked about.
    """

    def __init__(self, model: ChatModel, guard: Guard) -> None:
        self.model, self.guard, self.name = model, guard, model.name

    def answer(self, request: ChatRequest) -> Reply:
        """See `ChatModel.answer`; a question that is turned down costs the model no more than the time of its check."""
        # First, though it may be in vain: what is too long, or one too many, is refused before anything of it is embedded.
        reply = self.model.answer(request)
        try:
            earlier, asking = _parted(request.messages)
            question = "\n".join(map(_text, asking)) if request.messages else request.prompt or ""
            hit = self.guard.check(question)
            seen = (*self._passed(earlier), *asking)
        except BaseException:
            reply.cancel()
            raise
        if hit is not None:
            reply.cancel()
            _log(hit, "question")
            return TurnedDown(reply_for(hit, question))
        if len(seen) < len(request.messages):
            reply.cancel()
            reply = self.model.answer(replace(request, messages=seen))
        return GuardedReply(reply, self.guard, question)

    def _passed(self, earlier: Sequence[Message]) -> list[Message]:
        """Without the exchanges, questions up to the last answer to them, that are about a topic."""
        passed: list[Message] = []
        for exchange in _exchanges(earlier):
            said = [message for message in exchange if message.role != "system"]
            hit = self.guard.check("\n".join(map(_text, said)))
            passed += exchange if hit is None else [message for message in exchange if message.role == "system"]
        return passed

    def close(self) -> None:
        """Of the model within."""
        self.model.close()


class TurnedDown:
    """A `Reply` that nobody had to think about."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.prompt_tokens = self.completion_tokens = 0
        self.finish_reason: FinishReason | None = None

    def __iter__(self) -> Iterator[str]:
        if self.finish_reason is None:
            yield self.text
            self.finish_reason = "stop"

    def cancel(self) -> None:
        """There is nothing to free."""
        self.finish_reason = self.finish_reason or "cancelled"


class GuardedReply:
    """A `Reply` whose sentences are checked before they are passed on."""

    def __init__(self, reply: Reply, guard: Guard, question: str) -> None:
        self.reply, self.guard, self.question = reply, guard, question
        self.prompt_tokens, self.completion_tokens = reply.prompt_tokens, 0
        self.finish_reason: FinishReason | None = None

    def __iter__(self) -> Iterator[str]:
        before, said = "", False
        for passage in self._passages():
            hit = self.guard.check(before + passage)
            if hit is not None:
                _log(hit, "answer")
                self.reply.cancel()
                yield ("\n\n" if said else "") + reply_for(hit, self.question)
                self.finish_reason = "stop"
                return
            yield passage
            before, said = passage, True
        self.finish_reason = self.finish_reason or self.reply.finish_reason

    def _passages(self) -> Iterator[str]:
        growing = Passages()
        for piece in self.reply:
            self._count()
            yield from growing.add(piece)
        self._count()  # the last tokens may have had no text
        yield from growing.rest()

    def _count(self) -> None:
        # what the model wrote, whether or not it is passed on
        self.prompt_tokens, self.completion_tokens = self.reply.prompt_tokens, self.reply.completion_tokens

    def cancel(self) -> None:
        """See `Reply.cancel`."""
        self.reply.cancel()
        self.finish_reason = self.finish_reason or "cancelled"


def _parted(messages: Sequence[Message]) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    """What was said before, system turns at the beginning too; and what asks now."""
    answers = [i for i, message in enumerate(messages) if message.role == "assistant"]
    begin = answers[-1] + 1 if answers else 0
    while begin < len(messages) - 1 and messages[begin].role == "system":
        begin += 1
    return tuple(messages[:begin]), tuple(messages[begin:])


def _exchanges(messages: Sequence[Message]) -> list[list[Message]]:
    parts: list[list[Message]] = []
    for message in messages:
        if not parts or (message.role != "assistant" and parts[-1][-1].role == "assistant"):
            parts.append([])
        parts[-1].append(message)
    return parts


def _text(message: Message) -> str:
    return f"{message.content}\n{message.context}" if message.context else message.content


def _log(hit: Hit, where: str) -> None:
    # What was written is not logged: it is of the kind that people do not want to find in a log, and feedback.jsonl is for texts.
    log.warning("Turned down: %s about %s, cosine %.3f to the example %r.", where, hit.topic.name, hit.score, hit.demonstration)
