"""What a request asked and what its answer holds: candidates, and pieces that are none."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from kinnari.bootstrap.seeds import SeedTask
from kinnari.completion.completer import Completion


@dataclass(frozen=True)
class Candidate:
    """A proposed task; styles that make instances later leave input and output empty."""

    instruction: str
    input: str = ""
    output: str = ""


@dataclass(frozen=True)
class Rejected:
    """A piece of an answer that is not kept.

    Attributes:
        reason: the name of the rule, counted in result.json.
        text: the piece: an instruction, or raw text where it could not be read.
        detail: what says more, such as the nearest instruction.
    """

    reason: str
    text: str
    detail: Any = None


@dataclass(frozen=True)
class Question:
    """A prompt, and what is needed to read its answer.

    Attributes:
        next_number: the number the answer begins with; the prompt ends with it.
        language: of the seed tasks it shows, ISO 639-1.
    """

    prompt: str
    next_number: int
    language: str


class Style(Protocol):
    """A way to ask for instructions."""

    def question(self, seeds: Sequence[SeedTask], machine: Sequence[str], language: str, rng: random.Random) -> Question:
        """A prompt out of seeds of one language and instructions that were kept before, drawn with `rng`."""
        ...

    def read(self, question: Question, completion: Completion) -> list[Candidate | Rejected]:
        """Everything the answer holds, in its order; nothing of it is lost."""
        ...
