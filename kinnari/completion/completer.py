"""Text in, text out: what translation, bootstrap and judging need of a language model, wherever it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from kinnari.errors import ConfigError
from kinnari.text.conversation import Message

Prompt = str | Sequence[Message]  # bare text to be continued, or a chat


@dataclass(frozen=True, kw_only=True)
class CompletionSettings:
    """Decoding of one completion; None leaves a setting to the model's side.

    Raises:
        ConfigError: a length, temperature or probability with which nothing can be decoded.
    """

    max_tokens: int = 512
    temperature: float = 1.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: dict[int, float] = field(default_factory=dict)
    seed: int | None = None

    def __post_init__(self) -> None:
        """Refuse what an endpoint would refuse at every request, and a local model at the first."""
        for name, value, right, rule in (
            ("max_tokens", self.max_tokens, lambda v: isinstance(v, int) and v >= 1, "a whole number of at least 1"),
            ("temperature", self.temperature, lambda v: v >= 0, "a number of at least 0; 0 always takes the likeliest token"),
            ("top_p", self.top_p, lambda v: 0 < v <= 1, "a number above 0 and at most 1"),
        ):
            if isinstance(value, bool) or not isinstance(value, int | float) or not right(value):
                raise ConfigError(f"decoding: {name}={value} must be {rule}.")


@dataclass(frozen=True)
class Completion:
    """What came back; `finish_reason` is `stop`, `length`, or `failed` (then `text` is empty and `error` says why).

    Attributes:
        input_tokens, output_tokens: as an endpoint counted them; None where it said nothing.
    """

    text: str
    finish_reason: Literal["stop", "length", "failed"]
    error: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


class Completer(Protocol):
    """A language model behind an endpoint or in this process."""

    name: str  # recorded beside everything it wrote: the model, never a key

    def complete(
        self, prompts: Sequence[Prompt], settings: CompletionSettings, on_progress: Callable[[int], None] = lambda done: None
    ) -> list[Completion]:
        """One completion per prompt, in the order of the prompts; a prompt that fails for good yields `failed` and stops nothing."""
        ...
