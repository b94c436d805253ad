"""What a client gets: whole answers, and the pieces of streamed ones, as OpenAI's API has them."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
from typing import Any

from kinnari.serving.chat_model import Reply

END_OF_STREAM = "data: [DONE]\n\n"


class ReplyShape:
    """The JSON of one request's answer.

    Args:
        chat: of `/v1/chat/completions`, else of `/v1/completions`.
        model: its name as `/v1/models` lists it.
    """

    def __init__(self, *, chat: bool, model: str) -> None:
        self.chat, self.model = chat, model
        self.id = f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}"
        self.created = int(time.time())

    def whole(self, texts: Sequence[str], replies: Sequence[Reply], prompts: int) -> dict[str, Any]:
        """All choices at once."""
        choices = [self._choice(i, text, reply) for i, (text, reply) in enumerate(zip(texts, replies, strict=True))]
        return {**self._head(self._kind(whole=True)), "choices": choices, "usage": usage(replies, prompts)}

    def opening(self, number: int) -> str:
        """The first event of a streamed chat; completions have none."""
        return self._event([{"index": number, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}])

    def piece(self, number: int, text: str) -> str:
        """One event with text."""
        said: dict[str, Any] = {"delta": {"content": text}} if self.chat else {"text": text}
        return self._event([{"index": number, **said, "logprobs": None, "finish_reason": None}])

    def closing(self, number: int, reply: Reply) -> str:
        """The event that says why an answer ended."""
        said: dict[str, Any] = {"delta": {}} if self.chat else {"text": ""}
        return self._event([{"index": number, **said, "logprobs": None, "finish_reason": _reason(reply)}])

    def counted(self, replies: Sequence[Reply], prompts: int) -> str:
        """The event with the number of tokens, for clients that ask for it."""
        return self._event([], usage(replies, prompts))

    def _choice(self, number: int, text: str, reply: Reply) -> dict[str, Any]:
        said: dict[str, Any] = {"message": {"role": "assistant", "content": text, "refusal": None}} if self.chat else {"text": text}
        return {"index": number, **said, "logprobs": None, "finish_reason": _reason(reply)}

    def _event(self, choices: list[dict[str, Any]], counted: dict[str, int] | None = None) -> str:
        event = {**self._head(self._kind(whole=False)), "choices": choices}
        return data_event(event if counted is None else event | {"usage": counted})

    def _kind(self, *, whole: bool) -> str:
        return ("chat.completion" if whole else "chat.completion.chunk") if self.chat else "text_completion"

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


def data_event(value: dict[str, Any]) -> str:
    """A server-sent event."""
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"


def usage(replies: Sequence[Reply], prompts: int) -> dict[str, int]:
    """Tokens read and written; a prompt that has several answers is counted once."""
    each = len(replies) // prompts
    read, written = sum(reply.prompt_tokens for reply in replies[::each]), sum(reply.completion_tokens for reply in replies)
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def model_card(name: str, created: int) -> dict[str, Any]:
    """A model as `/v1/models` lists it."""
    return {"id": name, "object": "model", "created": created, "owned_by": "kinnari"}


def _reason(reply: Reply) -> str:
    return "length" if reply.finish_reason == "length" else "stop"
