"""Bodies of `/v1/chat/completions` and `/v1/completions` -> requests to a model.

What a body leaves unsaid is as the server's own settings say (`generation=`). Fields that would change the answer and that are not served
(tools, logprobs, best_of, ...) are refused, not ignored; what says nothing of the answer (user, metadata) is ignored.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, ValidationError

from kinnari.errors import ConfigError
from kinnari.generation.settings import GenerationSettings
from kinnari.serving.api_errors import ApiError
from kinnari.serving.chat_model import ChatRequest
from kinnari.text.conversation import Message, Role

MOST_CHOICES = 16  # n, times prompts of one request
GREEDY_BELOW = 1e-6  # a temperature by which logits would be divided beyond what a float holds
_Stop = Annotated[StrictStr, Field(min_length=1, max_length=1000)]
_Bias = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]
_Text = Annotated[StrictStr, Field(max_length=10_000_000)]  # the server's limit of bytes is the real one
# Values that ask for nothing; anything else of these is refused.
_UNSERVED: Mapping[str, tuple[Any, ...]] = {
    "best_of": (None, 1), "echo": (None, False), "suffix": (None, ""), "logprobs": (None, False), "top_logprobs": (None, 0),
    "tools": (None, []), "tool_choice": (None, "none", "auto"), "functions": (None, []), "function_call": (None, "none", "auto"),
    "response_format": (None, {"type": "text"}), "modalities": (None, ["text"]), "audio": (None,), "prediction": (None,),
    "web_search_options": (None,), "reasoning_effort": (None, "none"), "verbosity": (None,),
}  # fmt: skip


class _Part(BaseModel):
    type: Literal["text"]
    text: _Text


class _Message(BaseModel):
    role: Literal["system", "developer", "user", "assistant"]
    content: _Text | list[_Part]

    def message(self) -> Message:
        text = self.content if isinstance(self.content, str) else "\n".join(part.text for part in self.content)
        role: Role = "system" if self.role == "developer" else self.role
        return Message(role, text)


class _StreamOptions(BaseModel):
    include_usage: bool = False


class _Body(BaseModel):
    """What both kinds of request share; the last five fields are not OpenAI's."""

    model_config = ConfigDict(extra="allow")

    model: StrictStr | None = None
    stream: bool | None = False
    stream_options: _StreamOptions | None = None
    n: Annotated[StrictInt, Field(ge=1, le=MOST_CHOICES)] | None = None
    max_tokens: Annotated[StrictInt, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    seed: StrictInt | None = None
    stop: _Stop | Annotated[list[_Stop], Field(max_length=16)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)] | None = None
    logit_bias: Annotated[dict[int, _Bias], Field(max_length=1000)] | None = None  # more would slow down everybody's tokens
    top_k: Annotated[StrictInt, Field(ge=-1)] | None = None
    repetition_penalty: Annotated[float, Field(ge=0.01, le=100, allow_inf_nan=False)] | None = None
    no_repeat_ngram_size: Annotated[StrictInt, Field(ge=0)] | None = None
    min_tokens: Annotated[StrictInt, Field(ge=0)] | None = None
    start_script: StrictStr | None = None

    @property
    def include_usage(self) -> bool:
        """A last piece of the stream counts tokens."""
        return self.stream_options is not None and self.stream_options.include_usage

    def wanted_tokens(self) -> int | None:
        """How many tokens an answer may have; None where the body does not say."""
        return self.max_tokens


_Kind = TypeVar("_Kind", bound=_Body)


class ChatBody(_Body):
    """A body of `/v1/chat/completions`."""

    messages: Annotated[list[_Message], Field(min_length=1, max_length=10_000)]
    max_completion_tokens: Annotated[StrictInt, Field(ge=1)] | None = None

    def wanted_tokens(self) -> int | None:
        """`max_completion_tokens`, which newer clients send, before `max_tokens`."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    def questions(self) -> list[ChatRequest]:
        """One, without settings yet."""
        messages = tuple(message.message() for message in self.messages)
        if messages[-1].role == "assistant":
            raise ApiError(400, "The last message is the assistant's own; end with one of the user, which is answered.", param="messages")
        return [ChatRequest(messages=messages)]


class TextBody(_Body):
    """A body of `/v1/completions`."""

    prompt: _Text | Annotated[list[_Text], Field(min_length=1)]

    def questions(self) -> list[ChatRequest]:
        """One for each prompt, without settings yet."""
        return [ChatRequest(prompt=prompt) for prompt in ([self.prompt] if isinstance(self.prompt, str) else self.prompt)]


def parsed(kind: type[_Kind], body: Any) -> _Kind:
    """The body as `kind`.

    Raises:
        ApiError: 400; names the first field that is wrong.
    """
    if not isinstance(body, dict):
        raise ApiError(400, f"The body must be a JSON object, and is {type(body).__name__}.")
    for name, harmless in _UNSERVED.items():
        if name in body and body[name] not in harmless:
            raise ApiError(400, f"{name} is not served here; leave it out.", code="unsupported_parameter", param=name)
    try:
        return kind.model_validate(body)
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_context=False, include_input=False)[0]
        param = ".".join(str(part) for part in first["loc"])
        raise ApiError(400, f"{param}: {first['msg']}.", code="invalid_value", param=param) from None


def chat_requests(body: ChatBody | TextBody, settings: GenerationSettings, most_new_tokens: int) -> list[ChatRequest]:
    """The requests of a body: each prompt n times, seeds in a row.

    Args:
        settings: what holds where the body says nothing.
        most_new_tokens: an answer may ask for.

    Raises:
        ApiError: 400; more choices or tokens than are served, or settings that contradict one another.
    """
    questions, n = body.questions(), body.n or 1
    if len(questions) * n > MOST_CHOICES:
        raise ApiError(
            400, f"{len(questions)} prompts with n={n} are more than {MOST_CHOICES} answers; ask in several requests.", param="n"
        )
    wanted = body.wanted_tokens()
    if wanted is not None and wanted > most_new_tokens:
        raise ApiError(400, f"max_tokens is too large: {wanted}. This server gives at most {most_new_tokens} tokens.", param="max_tokens")
    stop = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    seed = secrets.randbits(31) if body.seed is None else body.seed % 2**63
    try:
        decoding = decoding_of(body, settings)
    except ConfigError as problem:
        raise ApiError(400, str(problem).replace("generation.", "")) from None
    shared = {
        "settings": decoding, "stop": stop, "frequency_penalty": body.frequency_penalty or 0.0,
        "presence_penalty": body.presence_penalty or 0.0, "logit_bias": body.logit_bias or {},
    }  # fmt: skip
    return [replace(question, seed=(seed + i) % 2**63, **shared) for question in questions for i in range(n)]  # type: ignore[arg-type]


def decoding_of(body: _Body, settings: GenerationSettings) -> GenerationSettings:
    """Decoding of a request: temperature 0 (or all but 0) is greedy, any other samples; neither searches with beams.

    Raises:
        ConfigError: values that contradict one another.
    """
    given: dict[str, Any] = {
        "max_new_tokens": body.wanted_tokens(), "min_new_tokens": body.min_tokens, "repetition_penalty": body.repetition_penalty,
        "no_repeat_ngram_size": body.no_repeat_ngram_size, "start_script": body.start_script,
    }  # fmt: skip
    sampling = {"temperature": body.temperature, "top_p": body.top_p, "top_k": None if body.top_k is None else max(0, body.top_k)}
    if body.temperature is not None and body.temperature < GREEDY_BELOW:
        given |= {"do_sample": False, "num_beams": 1, "temperature": 1.0, "top_p": 1.0, "top_k": 0}
    elif any(value is not None for value in sampling.values()):
        given |= sampling | {"do_sample": True, "num_beams": 1}
    said = {name: value for name, value in given.items() if value is not None}
    least = min(settings.min_new_tokens, said.get("max_new_tokens", settings.max_new_tokens))
    return replace(settings, **{"min_new_tokens": least} | said)
