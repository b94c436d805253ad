"""A chat model that says what a test wrote down, at the pace a test sets, and counts what runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from kinnari.serving.chat_model import ChatRequest, FinishReason, PromptTooLongError
from kinnari.serving.exchanges import SECONDS_BETWEEN_SENDINGS

HELD_AFTER = 3  # pieces


class ScriptedReply:
    """Pieces one after another; `pace` seconds before each, after the third while the model's gate is closed; cut short by cancelling."""

    def __init__(self, model: ScriptedModel, pieces: Sequence[str], pace: float) -> None:
        self.model, self.pieces, self.pace = model, pieces, pace
        self.cancelled = threading.Event()
        self.prompt_tokens, self.completion_tokens = 0, 0
        self.finish_reason: FinishReason | None = None

    def __iter__(self) -> Iterator[str]:
        for number, piece in enumerate(self.pieces):
            while number == HELD_AFTER and not self.model.gate.wait(0.01) and not self.cancelled.is_set():
                pass
            # The page collects what comes faster than it sends; the last piece before the gate is to be sent.
            if self.cancelled.wait(2 * SECONDS_BETWEEN_SENDINGS if number == HELD_AFTER - 1 else self.pace):
                return
            self.completion_tokens += 1
            yield piece
        self.end("stop")

    def cancel(self) -> None:
        self.cancelled.set()
        self.end("cancelled")

    def end(self, reason: FinishReason) -> None:
        if self.finish_reason is None:
            self.finish_reason = reason
            self.model.running.discard(self)


class ScriptedModel:
    """Answers `NAME heard: QUESTION`, word by word.

    Attributes:
        requests: all it was asked.
        running: replies that were neither read to their end nor cancelled.
        gate: open, unless a test closes it.
    """

    longest = 2000  # characters of a prompt

    def __init__(self, name: str = "echo", pace: float = 0.0, answer: str | None = None) -> None:
        self.name, self.pace, self.said = name, pace, answer
        self.requests: list[ChatRequest] = []
        self.running: set[ScriptedReply] = set()
        self.gate = threading.Event()
        self.gate.set()

    def answer(self, request: ChatRequest) -> ScriptedReply:
        self.requests.append(request)
        question = request.messages[-1].content if request.messages else str(request.prompt)
        if len(question) > self.longest:
            raise PromptTooLongError(f"The prompt has {len(question)} tokens and the model {self.longest}. Begin a new chat.")
        if question == "explode":
            raise RuntimeError("a secret of the server")
        text = self.said if self.said is not None else f"{self.name} heard: {question}"
        reply = ScriptedReply(self, [f"{word} " for word in text.split(" ")], self.pace)
        self.running.add(reply)
        return reply

    def close(self) -> None:
        for reply in list(self.running):
            reply.cancel()
