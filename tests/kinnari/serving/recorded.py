"""A model that says what it is told to, for tests of what stands in front of models."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import httpx2

from kinnari.serving.chat_model import ChatRequest, FinishReason


class Recorded:
    """A `ChatModel` that says what it is told to, and remembers what it was asked."""

    def __init__(self, name: str, pieces: Sequence[str | Exception] = ("สวัส", "ดี"), wait_s: float = 0.0) -> None:
        self.name, self.pieces, self.wait_s = name, pieces, wait_s
        self.asked: list[ChatRequest] = []
        self.replies: list[RecordedReply] = []
        self.refusal: Exception | None = None

    def answer(self, request: ChatRequest) -> RecordedReply:
        if self.refusal is not None:
            raise self.refusal
        self.asked.append(request)
        self.replies.append(RecordedReply(self))
        return self.replies[-1]

    def close(self) -> None:
        pass


class RecordedReply:
    def __init__(self, model: Recorded) -> None:
        self.model, self.prompt_tokens, self.completion_tokens = model, 7, 0
        self.finish_reason: FinishReason | None = None
        self.cancelled = False

    def __iter__(self) -> Iterator[str]:
        for piece in self.model.pieces:
            if isinstance(piece, Exception):
                raise piece
            for _ in range(int(self.model.wait_s / 0.01)):
                if self.cancelled:
                    return
                time.sleep(0.01)
            self.completion_tokens += 1
            yield piece
        self.finish_reason = "length" if self.model.name == "cut" else "stop"

    def cancel(self) -> None:
        self.cancelled = True


def error_of(response: httpx2.Response, status: int) -> dict:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert set(body) == {"error"} and set(body["error"]) == {"message", "type", "param", "code"}
    assert "Traceback" not in response.text and body["error"]["message"]
    return body["error"]
