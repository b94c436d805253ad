"""How a judge is asked, and how its reply is read.

JudgeTemplate()                                               A, B or tie
JudgeTemplate(user="... {prompt} ... {first} ... {second}", style="first_line_scores", scale=(1, 10), max_tokens=1024)

conf/judge/*.yaml hold the others. {instruction} is the one of the row's category, {reference} the part with a reference answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from kinnari.errors import ConfigError
from kinnari.evaluation.judging.readings import STYLES, Reading, Scores, Style, read
from kinnari.text.conversation import Message

LETTERS = (
    "Below are a question and two answers to it. Which answer is more helpful, relevant, accurate and detailed? Neither their order nor "
    "their length matters. Reply with A, B or tie and nothing else.\n\nQuestion:\n{prompt}\n\nAnswer A:\n{first}\n\nAnswer B:\n{second}"
    "\n\nBetter answer:"
)
GENERAL = "general"  # the category of rows that have none, or one without an instruction of its own
_NEEDED = ("{prompt}", "{first}", "{second}")
_PARTS = re.compile(r"\{(prompt|first|second|instruction|reference)\}")


@dataclass(frozen=True, kw_only=True)
class JudgeTemplate:
    """Texts and settings of a request.

    Args:
        name: recorded beside the verdicts.
        system: the system turn; empty for none.
        user: holds {prompt}, {first} and {second}; {instruction} and {reference} where there are such.
        instructions: category -> what the judge is to do; `general` is for all that are not named.
        reference: stands for {reference} where a row has a reference answer; holds {reference} itself.
        style: how replies are read.
        scale: lowest and highest score; None for verdicts without scores.
        max_tokens, temperature: of the reply.

    Raises:
        ConfigError: a part is missing, or a style that there is none of.
    """

    name: str = "letters"
    system: str = ""
    user: str = LETTERS
    instructions: Mapping[str, str] = field(default_factory=dict)
    reference: str = ""
    style: Style = "letter"
    scale: Scores | None = None
    max_tokens: int = 16
    temperature: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what would ask about nothing."""
        missing = [part for part in _NEEDED if part not in self.user]
        if missing:
            raise ConfigError(f"The judge's instruction holds no {' and no '.join(missing)}; it must hold {', '.join(_NEEDED)}.")
        if self.style not in STYLES:
            raise ConfigError(f"judge.template.style={self.style} is no way to read a reply; choose one of {', '.join(STYLES)}.")
        if "{instruction}" in self.user and GENERAL not in self.instructions:
            raise ConfigError(
                f"The judge's template {self.name} holds {{instruction}} and no instruction of the category {GENERAL}; add one."
            )
        if bool(self.reference) != ("{reference}" in self.user) or (self.reference and "{reference}" not in self.reference):
            raise ConfigError(f"The judge's template {self.name} must hold {{reference}} in both `user` and `reference`, or have neither.")

    def messages(self, prompt: str, first: str, second: str, *, category: str = "", reference: str = "") -> list[Message]:
        """The chat that asks about two answers in this order."""
        # not str.format: a question may hold braces
        parts = {"prompt": prompt, "first": first, "second": second, "instruction": self.instruction(category)}
        parts["reference"] = self.reference.replace("{reference}", reference) if reference else ""
        text = _PARTS.sub(lambda match: parts[match[1]], self.user)
        return ([Message("system", self.system)] if self.system else []) + [Message("user", text)]

    def instruction(self, category: str) -> str:
        """That of the category, told without regard to capitals."""
        return self.instructions.get(category.strip().casefold(), self.instructions.get(GENERAL, ""))

    def read(self, reply: str) -> Reading:
        """What a reply says of the answers in the order they were shown."""
        return read(reply, self.style, self.scale)
