"""Steps that remove conversations by what they say.

Phrases(phrases=["Sure!"], at="start", where=["inputs"])      a question that is really an answer: "Sure! Here is a poem"
Phrases(phrases=["as an ai language model"])                  refusals and talk about itself, wherever they stand
CodeRows(keywords=["Python", "ฟังก์ชัน"], sources=["oig_chip2"])  code in a source whose code did not survive translation
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kinnari.cleaning.step import RowStep
from kinnari.cleaning.texts import ALL, check_where, first_match, joined, shown, texts
from kinnari.errors import ConfigError
from kinnari.text.conversation import Conversation

# Quotation marks, list marks and spaces that may stand before the first word of a text.
_BEFORE_THE_FIRST_WORD = " \t\r\n\"'“”‘’「『*_>#-"


@dataclass(frozen=True)
class Phrases(RowStep):
    """Removes a conversation in which one of the phrases occurs.

    Args:
        phrases: as they stand in the text, apart from case.
        where: the parts looked at (kinnari/cleaning/texts.py).
        at: `start` for the first words of a text alone, quotation and list marks before them aside; `anywhere`.
        sources: names of the sources concerned; none for all.
    """

    phrases: tuple[str, ...]
    where: tuple[str, ...] = ("answers",)
    at: Literal["start", "anywhere"] = "anywhere"
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse an empty phrase, which would be in every text."""
        super().__post_init__()
        check_where(self.where, self)
        _check_texts("phrases", self.phrases, self)
        if self.at not in ("start", "anywhere"):
            raise ConfigError(f"Phrases: at={self.at!r} must be start or anywhere.")

    def __call__(self, conversation: Conversation) -> Conversation | str:
        """The conversation if none of the phrases is in it."""
        if self.sources and conversation.source not in self.sources:
            return conversation
        for text in texts(conversation, self.where):
            folded = _fold(text)
            if self.at == "start":
                folded = folded.lstrip(_BEFORE_THE_FIRST_WORD)
                phrase = first_match(self.phrases, lambda p, folded=folded: folded.startswith(_fold(p)))  # type: ignore[misc]
            else:
                phrase = first_match(self.phrases, lambda p, folded=folded: _fold(p) in folded)  # type: ignore[misc]
            if phrase:
                return f"{'begins with' if self.at == 'start' else 'says'} {phrase!r}: {shown(text)}"
        return conversation


@dataclass(frozen=True)
class CodeRows(RowStep):
    """Removes conversations of some sources that mention one of the keywords anywhere.

    WangChanGLM left rows about code out of its translated set, because machine translation had translated the code as well. Its
    expression removed a row that lacks the first keyword when it has another; meant, and done here, is: any keyword removes.

    Args:
        keywords: as they stand in the text, case included.
        sources: names of the sources concerned; none for all.
        languages: ISO 639-1 of the sources' declared languages; none for all.
    """

    keywords: tuple[str, ...]
    sources: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse an empty keyword, which would be in every text."""
        super().__post_init__()
        _check_texts("keywords", self.keywords, self)

    def __call__(self, conversation: Conversation) -> Conversation | str:
        """The conversation if it is of another source or language, or has none of the keywords."""
        if self.sources and conversation.source not in self.sources:
            return conversation
        if self.languages and conversation.language not in self.languages:
            return conversation
        everything = joined(conversation, ALL)
        keyword = first_match(self.keywords, everything.__contains__)
        return f"mentions {keyword!r}" if keyword else conversation


def _fold(text: str) -> str:
    return text.casefold().replace("’", "'")


def _check_texts(name: str, values: tuple[str, ...], step: object) -> None:
    if not values or not all(isinstance(value, str) and value.strip() for value in values):
        raise ConfigError(f"{type(step).__name__}: {name}={list(values)} must be one or more texts that are not empty.")
