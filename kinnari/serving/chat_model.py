"""What the chat page, the service and the terminal ask of a model: messages in, pieces of text out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from kinnari.generation.settings import GenerationSettings
from kinnari.text.conversation import Message

FinishReason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True, kw_only=True)
class ChatRequest:
    """One answer that is wanted.

    Attributes:
        messages: the conversation so far, its last turn the user's; rendered with the model's template.
        prompt: text to go on with as it stands, in place of messages.
        settings: decoding of this request alone.
        seed: of sampling; two equal requests draw alike, whoever else is served meanwhile. Equal answers come of it in float32 alone:
            16-bit logits round differently with the number of rows that run, and of two tokens that are nearly equally likely the
            other may come.
        stop: texts that end the answer; none of them is part of it.
        frequency_penalty, presence_penalty, logit_bias: see `kinnari.generation.penalties.Penalties`.
    """

    messages: tuple[Message, ...] = ()
    prompt: str | None = None
    settings: GenerationSettings = field(default_factory=GenerationSettings)
    seed: int = 0
    stop: tuple[str, ...] = ()
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)


class RequestRefusedError(Exception):
    """The request is not served; the text says why and what to do."""


class PromptTooLongError(RequestRefusedError):
    """The prompt leaves no room for an answer in the model's positions."""


class QueueFullError(RequestRefusedError):
    """As many requests wait as may; another try later may be served."""


class AnswerTimeoutError(RequestRefusedError):
    """The answer was not begun, or not finished, in the time allowed."""


class ModelFailedError(RequestRefusedError):
    """The model broke down while it answered, for want of memory mostly, or is being shut down; the log says more."""


class Reply(Protocol):
    """An answer in the making.

    Attributes:
        prompt_tokens, completion_tokens: counted so far.
        finish_reason: None until the last piece was taken.
    """

    prompt_tokens: int
    completion_tokens: int
    finish_reason: FinishReason | None

    def __iter__(self) -> Iterator[str]:
        """Pieces of text as they come, whole characters only; together they are the answer. May raise `AnswerTimeoutError`."""

    def cancel(self) -> None:
        """Nobody reads on: frees its place among the running rows; from any thread, at any time."""


class ChatModel(Protocol):
    """A model that answers many at once.

    Attributes:
        name: as `/v1/models` lists it.
    """

    name: str

    def answer(self, request: ChatRequest) -> Reply:
        """Queue the request; from any thread. Raises RequestRefusedError: `PromptTooLongError`, `QueueFullError`."""

    def close(self) -> None:
        """End what is running and free the model."""
