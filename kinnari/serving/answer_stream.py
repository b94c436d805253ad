"""An answer in the making, between the thread that computes it and the one that reads it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from kinnari.serving.chat_model import AnswerTimeoutError, FinishReason, RequestRefusedError


@dataclass(frozen=True)
class _End:
    reason: FinishReason
    error: RequestRefusedError | None = None


class AnswerStream:
    """A `Reply`: the engine writes, one reader iterates, anybody may cancel.

    Args:
        prompt_tokens: of the rendered prompt.
        timeout_s: from now until the answer must be finished.
    """

    def __init__(self, prompt_tokens: int, timeout_s: float) -> None:
        self.prompt_tokens, self.completion_tokens = prompt_tokens, 0
        self.finish_reason: FinishReason | None = None
        self.timeout_s, self.deadline = timeout_s, time.monotonic() + timeout_s
        self._cancelled = threading.Event()
        self._pieces: queue.SimpleQueue[str | _End] = queue.SimpleQueue()

    def __iter__(self) -> Iterator[str]:
        """See `Reply`. The deadline holds here too, so that no reader waits for an engine that is stuck in one long computation."""
        while self.finish_reason is None:
            try:
                piece = self._pieces.get(timeout=max(0.0, self.deadline - time.monotonic()))
            except queue.Empty:
                self.cancel()
                piece = _End("cancelled", self.too_late())
            if isinstance(piece, str):
                yield piece
                continue
            self.finish_reason = piece.reason
            if piece.error is not None:
                raise piece.error

    def cancel(self) -> None:
        """See `Reply`."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        """Nobody waits for the answer any more."""
        return self._cancelled.is_set()

    @property
    def late(self) -> bool:
        """The deadline has passed."""
        return time.monotonic() >= self.deadline

    def write(self, piece: str) -> None:
        """One more piece; nothing for an empty one."""
        if piece:
            self._pieces.put(piece)

    def end(self, reason: FinishReason) -> None:
        """No piece follows."""
        self._pieces.put(_End(reason))

    def fail(self, error: RequestRefusedError) -> None:
        """No piece follows, and the reader is told why."""
        self._pieces.put(_End("cancelled", error))

    def too_late(self) -> AnswerTimeoutError:
        """What a reader is told after the deadline."""
        begun = "finished" if self.completion_tokens else "begun"
        return AnswerTimeoutError(
            f"The answer was not {begun} within {self.timeout_s:g} seconds: the model serves many, or the answer is long. "
            "Try again later, or ask for fewer tokens."
        )
