"""Alpaca's way: three whole seed tasks in a prompt, up to seventeen whole tasks in the answer.

    <header>
    ###
    1. Instruction: Rewrite the sentence in the past tense.
    1. Input:
    I go to school.
    1. Output:
    I went to school.
    ###
    ...
    4. Instruction:

Source of the format: tatsu-lab/stanford_alpaca, generate_instruction.py and prompt.txt. The header's wording is ours. Differences:
an answer is split before every line that begins a numbered instruction, with a `###` or without, and at no other `###`; a piece's own
number counts rather than its place; an empty output is rejected (nothing could be trained on).
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

NO_INPUT = "<noinput>"
_BORDER = re.compile(r"(?:#{3}\s*|^)(?=\d+\.\s+Instruction:)|#{3}\s*\Z", re.MULTILINE)
_NUMBER = re.compile(r"\s*(\d+)\.\s+Instruction:")


@dataclass(frozen=True, kw_only=True)
class AlpacaStyle:
    """Prompts of `num_seeds` seed tasks.

    Args:
        header: what is asked for; `{language}` is replaced by the language's English name.
    """

    header: str
    num_seeds: int = 3

    def __post_init__(self) -> None:
        if self.num_seeds < 1:
            raise ConfigError(f"bootstrap.num_seeds={self.num_seeds}: a prompt must show at least 1 seed task (3 in Alpaca).")

    def question(self, seeds: Sequence[SeedTask], machine: Sequence[str], language: str, rng: random.Random) -> Question:
        """Only seeds are drawn: instructions of the model are never shown to it again."""
        tasks = "".join(_shown(number, seed) for number, seed in enumerate(rng.sample(list(seeds), self.num_seeds), 1))
        following = self.num_seeds + 1
        header = self.header.replace("{language}", LANGUAGE_NAMES.get(language, language or "the language of the examples"))
        return Question(f"{header.strip()}\n{tasks}###\n{following}. Instruction:", following, language)

    def read(self, question: Question, completion: Completion) -> list[Candidate | Rejected]:
        """Tasks in the order of the answer; a last piece that was cut by `max_tokens` is rejected as `cut`."""
        text = completion.text
        if not _NUMBER.match(text.removeprefix("###")):  # chat models repeat where they begin
            text = f"{question.next_number}. Instruction:{text}"
        pieces = [piece for piece in _BORDER.split(text) if piece.strip()]
        found = [_task(piece) for piece in pieces]
        if completion.finish_reason == "length" and found:
            found[-1] = Rejected("cut", pieces[-1].strip())
        return found


def _shown(number: int, seed: SeedTask) -> str:
    instruction = re.sub(r"\s+", " ", seed.instruction).strip().rstrip(":")
    first = seed.instances[0]
    given = NO_INPUT if not first.input.strip() else first.input
    return f"###\n{number}. Instruction: {instruction}\n{number}. Input:\n{given}\n{number}. Output:\n{first.output}\n"


def _task(piece: str) -> Candidate | Rejected:
    number = _NUMBER.match(piece)
    parts = re.split(rf"{number.group(1)}\.\s+(Instruction|Input|Output):", piece) if number else []
    if len(parts) != 7 or parts[1::2] != ["Instruction", "Input", "Output"]:
        return Rejected("malformed", piece.strip())
    instruction, given, output = (part.strip() for part in parts[2::2])
    if not output:
        return Rejected("no_output", instruction)
    return Candidate(instruction, "" if given.lower() == NO_INPUT else given, output)
