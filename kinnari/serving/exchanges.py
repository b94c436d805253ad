"""A conversation on the page: exchanges of question and answer, what of them the model sees again, and answers as they grow."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

from kinnari.errors import ConfigError
from kinnari.serving.chat_model import (
    AnswerTimeoutError,
    ChatModel,
    ChatRequest,
    PromptTooLongError,
    QueueFullError,
    Reply,
    RequestRefusedError,
)
from kinnari.serving.feedback import Given
from kinnari.serving.page_texts import Texts
from kinnari.text.conversation import Message

log = logging.getLogger(__name__)

# A browser draws no more than it can show; between two sendings the pieces are collected.
SECONDS_BETWEEN_SENDINGS = 0.05


@dataclass(frozen=True)
class Exchange:
    """A question and what came of it; `given` is the answer for feedback, None where there is nothing to have an opinion of."""

    question: str
    answer: str = ""
    error: str = ""
    given: Given | None = None


@dataclass(frozen=True)
class Progress:
    """An answer so far; an error, in the language of the page, is the last there is of it."""

    text: str
    error: str = ""


def messages_for(earlier: Sequence[Exchange], question: str, *, system: str, history: int) -> tuple[Message, ...]:
    """What the model is asked: the system turn, the last `history` exchanges that have an answer, the question."""
    seen = [exchange for exchange in earlier if exchange.answer]
    turns = [Message("system", system.strip())] if system.strip() else []
    for exchange in seen[len(seen) - min(history, len(seen)) :]:
        turns += [Message("user", exchange.question), Message("assistant", exchange.answer)]
    return (*turns, Message("user", question))


class LiveReplies:
    """Answers in the making by whoever waits for them, so that they can be stopped from elsewhere."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._replies: dict[str, list[Reply]] = {}

    @contextmanager
    def running(self, owner: str, reply: Reply) -> Iterator[Reply]:
        """The reply, of which nothing runs on after the block, however that ends."""
        with self._lock:
            self._replies.setdefault(owner, []).append(reply)
        try:
            yield reply
        finally:
            if reply.finish_reason is None:
                reply.cancel()
            with self._lock:
                self._replies[owner].remove(reply)
                if not self._replies[owner]:
                    del self._replies[owner]

    def cancel(self, owner: str) -> None:
        """End every answer of this owner where it is."""
        with self._lock:
            replies = list(self._replies.get(owner, ()))
        for reply in replies:
            reply.cancel()

    def __len__(self) -> int:
        with self._lock:
            return sum(map(len, self._replies.values()))


def growing(model: ChatModel, request: ChatRequest, live: LiveReplies, owner: str, texts: Texts) -> Iterator[Progress]:
    """The answer as it grows. Whatever goes wrong is a sentence in the last `Progress`; nothing is raised."""
    text, sent, error = "", 0.0, ""
    try:
        with live.running(owner, model.answer(request)) as reply:
            for piece in reply:
                text += piece
                if monotonic() - sent >= SECONDS_BETWEEN_SENDINGS:
                    yield Progress(text)
                    sent = monotonic()
    except (RequestRefusedError, ConfigError) as refusal:
        error = f"{_sentence(refusal, texts)} {refusal}"
    except Exception:
        log.exception("An answer of %s failed", model.name)
        error = texts.error_unexpected
    yield Progress(text, error)


def together(*answers: Iterator[Progress]) -> Iterator[tuple[Progress, ...]]:
    """Several answers that grow at the same time: the state of all after each change of one.

    Each is read in a thread of its own; whoever stops reading before the end must cancel the replies, which ends the threads.
    """
    changes: queue.SimpleQueue[tuple[int, Progress | None]] = queue.SimpleQueue()

    def read(place: int, answer: Iterator[Progress]) -> None:
        try:
            for progress in answer:
                changes.put((place, progress))
        finally:
            changes.put((place, None))

    for place, answer in enumerate(answers):
        threading.Thread(target=read, args=(place, answer), daemon=True, name=f"answer-{place}").start()
    now, left = [Progress("")] * len(answers), len(answers)
    while left:
        place, progress = changes.get()
        if progress is None:
            left -= 1
        else:
            now[place] = progress
            yield tuple(now)


def _sentence(refusal: Exception, texts: Texts) -> str:
    if isinstance(refusal, PromptTooLongError):
        return texts.error_too_long
    if isinstance(refusal, QueueFullError):
        return texts.error_queue
    return texts.error_timeout if isinstance(refusal, AnswerTimeoutError) else texts.error_refused
