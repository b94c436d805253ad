"""What replies took, in tokens and money: as the endpoint counted, or estimated from the characters, and then it says so."""

from __future__ import annotations

import math
from dataclasses import dataclass

from kinnari.completion.completer import Completion, Prompt

ASCII_PER_TOKEN = 4  # letters of English to a token; of Thai, Korean, Chinese and Japanese one character is taken for one


@dataclass(frozen=True)
class Spent:
    """Sums over replies; those that failed count as requests alone.

    Attributes:
        estimated: requests whose tokens were estimated.
    """

    requests: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    estimated: int = 0

    def __add__(self, other: Spent) -> Spent:
        """Of both."""
        return Spent(
            self.requests + other.requests,
            self.failed + other.failed,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.estimated + other.estimated,
        )

    def cost(self, per_million_input: float, per_million_output: float) -> float:
        """In the currency of the prices."""
        return (self.input_tokens * per_million_input + self.output_tokens * per_million_output) / 1e6


def spent_on(prompt: Prompt, completion: Completion) -> Spent:
    """What one reply took."""
    if completion.error is not None:
        return Spent(requests=1, failed=1)
    read, written = completion.input_tokens, completion.output_tokens
    said = prompt if isinstance(prompt, str) else "\n".join(m.content + m.context for m in prompt)
    return Spent(
        requests=1,
        input_tokens=estimated_tokens(said) if read is None else read,
        output_tokens=estimated_tokens(completion.text) if written is None else written,
        estimated=int(read is None or written is None),
    )


def estimated_tokens(text: str) -> int:
    """A rough number for texts whose tokenizer nobody knows."""
    plain = sum(character.isascii() for character in text)
    return math.ceil(plain / ASCII_PER_TOKEN) + len(text) - plain
