"""A chat model that does not talk about some topics: questions are checked before it is asked, answers before they are shown.

An answer is held back sentence by sentence: a sentence is passed on after it, and it together with the one before, has been compared.
So nothing that the guard knows is ever on a screen, not even for a moment, and an answer comes in sentences rather than tokens.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from kinnari.serving.chat_model import ChatModel, ChatRequest, FinishReason, Reply
from kinnari.serving.guard import Guard, Hit, Passages, reply_for

log = logging.getLogger(__name__)


class GuardedModel:
    """A `ChatModel` around another; so the page, the API and the terminal are guarded alike.

    Of a conversation the last question is checked (earlier ones were, when they were asked, and what they led to is in the answer),
    of a prompt to be gone on with all of it.
    """

    def __init__(self, model: ChatModel, guard: Guard) -> None:
        self.model, self.guard, self.name = model, guard, model.name

    def answer(self, request: ChatRequest) -> Reply:
        """See `ChatModel.answer`; a question that is turned down costs the model nothing."""
        question = request.prompt or ""
        if request.messages:
            last = request.messages[-1]
            question = f"{last.content}\n{last.context}" if last.context else last.content
        hit = self.guard.check(question)
        if hit is not None:
            _log(hit, "question")
            return TurnedDown(reply_for(hit, question))
        return GuardedReply(self.model.answer(request), self.guard, question)

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
            # what the model wrote, whether or not it is passed on
            self.prompt_tokens, self.completion_tokens = self.reply.prompt_tokens, self.reply.completion_tokens
            yield from growing.add(piece)
        yield from growing.rest()

    def cancel(self) -> None:
        """See `Reply.cancel`."""
        self.reply.cancel()
        self.finish_reason = self.finish_reason or "cancelled"


def _log(hit: Hit, where: str) -> None:
    # What was written is not logged: it is of the kind that people do not want to find in a log, and feedback.jsonl is for texts.
    log.warning("Turned down: %s about %s, cosine %.3f to the example %r.", where, hit.topic.name, hit.score, hit.demonstration)
