"""The original way: eight instructions in a prompt, at most two of them the model's own, and more instructions in the answer.

    <header>
    1. Rewrite the sentence in the past tense.
    ...
    9.

Source of the format: yizhongw/self-instruct, bootstrap_instructions.py. The headers' wording is ours. Differences: only the first
letter of an instruction is made a capital (the original makes all others small: "Translate into french").
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from kinnari.bootstrap.candidates import Candidate, Question, Rejected
from kinnari.bootstrap.scripts import LANGUAGE_NAMES
from kinnari.bootstrap.seeds import SeedTask
from kinnari.completion.completer import Completion
from kinnari.errors import ConfigError

_NEXT = re.compile(r"\n[ \t]*\d+ ?\.\s")
_FIRST = re.compile(r"\s*\d+\s?\.\s")


@dataclass(frozen=True, kw_only=True)
class SelfInstructStyle:
    """Prompts of instructions alone.

    Args:
        header: what stands above the list; `{language}` is replaced by the language's English name.
        in_context: instructions in a prompt.
        machine: how many of them may be the model's own.
    """

    header: str
    in_context: int = 8
    machine: int = 2

    def __post_init__(self) -> None:
        if not 0 <= self.machine < self.in_context:
            raise ConfigError(
                f"bootstrap.num_machine={self.machine} of bootstrap.num_in_context={self.in_context}: at least one instruction of a "
                "prompt must be a seed (8 with at most 2 of the model's own in self-instruct)."
            )

    def question(self, seeds: Sequence[SeedTask], machine: Sequence[str], language: str, rng: random.Random) -> Question:
        """Up to `self.machine` of `machine`, the rest seeds, shuffled together."""
        shown = rng.sample(list(machine), min(self.machine, len(machine)))
        shown += [seed.instruction for seed in rng.sample(list(seeds), self.in_context - len(shown))]
        rng.shuffle(shown)
        lines = "".join(f"{number}. {_one_line(text)}\n" for number, text in enumerate(shown, 1))
        header = self.header.replace("{language}", LANGUAGE_NAMES.get(language, language or "the language of the examples"))
        return Question(f"{header.strip()}\n{lines}{len(shown) + 1}.", len(shown) + 1, language)

    def read(self, question: Question, completion: Completion) -> list[Candidate | Rejected]:
        """Instructions in the order of the answer; an answer that was cut by `max_tokens` is rejected whole."""
        text = completion.text.strip("\n")
        if not text.strip():
            return []
        if completion.finish_reason == "length":
            return [Rejected("cut", text.strip())]
        pieces = _NEXT.split(_FIRST.sub("", text, count=1) if _FIRST.match(text) else text)
        found = [_one_line(piece) for piece in pieces]
        return [Candidate(text[0].upper() + text[1:]) for text in found if text]


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip().strip(":").strip()
