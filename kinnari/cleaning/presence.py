"""Steps about what a conversation must have: answers, turns, lengths, endings.

A user turn "What is 2 + 2?" whose answer is "" goes with "turn 2, the assistant's, is empty".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from kinnari.cleaning.step import RowStep
from kinnari.cleaning.texts import check_where, first_match, shown, texts
from kinnari.cleaning.words import word_count
from kinnari.errors import ConfigError
from kinnari.text.conversation import Conversation, normalise_question


@dataclass(frozen=True)
class MissingAnswer(RowStep):
    """Removes a conversation that has no answer, or an empty one: there is nothing, or only an EOS, to be trained on."""

    def __call__(self, conversation: Conversation) -> Conversation | str:
        """The conversation if every assistant turn says something."""
        answers = [(i, m) for i, m in enumerate(conversation.messages, start=1) if m.role == "assistant"]
        if not answers:
            return "there is no assistant turn"
        empty = next((i for i, m in answers if not m.content.strip()), None)
        return conversation if empty is None else f"turn {empty}, the assistant's, is empty"


@dataclass(frozen=True)
class QuestionIsAnswer(RowStep):
    """Removes a conversation in which an answer repeats the user turn before it.

    (user "Translate to Korean", context "Hello", assistant "Hello") goes: the translation was never made.

    Args:
        normalised: compare without regard to case, punctuation, width and spacing.
        least: characters of the shortest answer judged; a greeting is answered with the same greeting.
    """

    normalised: bool = True
    least: int = 0

    def __call__(self, conversation: Conversation) -> Conversation | str:
        """The conversation if no answer equals its question or the question's context."""
        for before, after in pairwise(conversation.messages):
            if before.role != "user" or after.role != "assistant" or len(after.content.strip()) < max(1, self.least):
                continue
            if self._folded(after.content) in (self._folded(before.content), self._folded(before.context)):
                return f"the answer is the question: {shown(after.content)}"
        return conversation

    def _folded(self, text: str) -> str:
        return normalise_question(text) if self.normalised else text.strip()


@dataclass(frozen=True)
class TurnCount(RowStep):
    """Removes conversations with too few or too many answers; a question and an answer are 1.

    Args:
        least, most: assistant turns; `most` None for any number.
    """

    least: int = 1
    most: int | None = None

    def __post_init__(self) -> None:
        """Refuse impossible bounds."""
        super().__post_init__()
        _check_bounds(self.least, self.most, self)

    def __call__(self, conversation: Conversation) -> Conversation | str:
        """The conversation if the number of its answers is within the bounds."""
        count = sum(m.role == "assistant" for m in conversation.messages)
        return _within(count, self.least, self.most, "assistant turns") or conversation


@dataclass(frozen=True)
class Length(RowStep):
    """Removes a conversation with a text that is too short or too long. Limits in tokens belong to the model: `model.max_length`.

    Length(least=5) removes an answer "네." (2 characters); spaces around a text do not count.

    Args:
        where: the parts each of whose texts is measured (kinnari/cleaning/texts.py).
        least, most: bounds, inclusive; `most` None for any length.
        unit: characters, or words; where a script has no spaces, 4 characters of Thai, Lao, Khmer, Burmese and 2 of Chinese
            and Japanese count as a word (kinnari/cleaning/words.py).
    """

    where: tuple[str, ...] = ("answers",)
    least: int = 0
    most: int | None = None
    unit: Literal["characters", "words"] = "characters"

    def __post_init__(self) -> None:
        """Refuse impossible bounds and unknown parts."""
        super().__post_init__()
        check_where(self.where, self)
        _check_bounds(self.least, self.most, self)
        if self.unit not in ("characters", "words"):
            raise ConfigError(f"Length: unit={self.unit!r} must be characters or words. Limits in tokens are model.max_length.")

    def __call__(self, conversation: Conversation) -> Conversation | str:
        """The conversation if every text is within the bounds."""
        for text in texts(conversation, self.where):
            size = word_count(text) if self.unit == "words" else len(text.strip())
            problem = _within(size, self.least, self.most, self.unit)
            if problem:
                return f"{problem}: {shown(text)}"
        return conversation


@dataclass(frozen=True)
class EndsWith(RowStep):
    """Removes a conversation with a text that ends in one of the endings: posts that are a question, texts that were cut off.

    EndsWith(endings=["?"]) removes the summary "does anyone know why?".

    Args:
        endings: as they stand in the text; white space after them is ignored.
        where: the parts each of whose texts is looked at.
        sources: names of the sources concerned; none for all.
    """

    endings: tuple[str, ...]
    where: tuple[str, ...] = ("answers",)
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse an empty list and unknown parts."""
        super().__post_init__()
        check_where(self.where, self)
        if not self.endings or not all(self.endings):
            raise ConfigError(f"EndsWith: endings={list(self.endings)} must be one or more texts that are not empty, such as ['?'].")

    def __call__(self, conversation: Conversation) -> Conversation | str:
        """The conversation if no text has one of the endings."""
        if self.sources and conversation.source not in self.sources:
            return conversation
        for text in texts(conversation, self.where):
            ending = first_match(self.endings, re.sub(r"\s+\Z", "", text).endswith)
            if ending:
                return f"ends with {ending!r}: {shown(text[-40:])}"
        return conversation


def _check_bounds(least: int, most: int | None, step: object) -> None:
    if least < 0 or (most is not None and most < least):
        raise ConfigError(f"{type(step).__name__}: least={least}, most={most} must be 0 or more, and in this order (null for no limit).")


def _within(size: int, least: int, most: int | None, unit: str) -> str | None:
    if size < least:
        return f"{size} {unit}, fewer than {least}"
    return f"{size} {unit}, more than {most}" if most is not None and size > most else None
