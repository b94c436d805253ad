"""A step that keeps conversations in chosen languages, told from the texts.

Languages(languages=["th", "en"]) removes the answer "你好，我是一个助手" with "the answer is in zh".
"""

from __future__ import annotations

from dataclasses import dataclass

from kinnari.cleaning.step import RowStep
from kinnari.cleaning.texts import check_where, joined, shown
from kinnari.errors import ConfigError
from kinnari.text.conversation import Conversation
from kinnari.text.language import language_of


@dataclass(frozen=True)
class Languages(RowStep):
    """Removes a conversation whose texts are in none of the languages.

    The texts of a part are looked at as one, each part for itself. What a source declares is not believed: this step is how one
    finds out. Where the language cannot be known ("42", a code block), the conversation is kept.

    Args:
        languages: ISO 639-1.
        where: the parts looked at (kinnari/cleaning/texts.py).
    """

    languages: tuple[str, ...]
    where: tuple[str, ...] = ("answers",)

    def __post_init__(self) -> None:
        """Refuse what is no list of codes."""
        super().__post_init__()
        check_where(self.where, self)
        wrong = [code for code in self.languages if not (isinstance(code, str) and len(code) == 2 and code.isalpha() and code.islower())]
        if wrong or not self.languages:
            raise ConfigError(f"Languages: languages={list(self.languages)} must be ISO 639-1 codes in small letters, such as [th, en].")

    def __call__(self, conversation: Conversation) -> Conversation | str:
        """The conversation if every part is in one of the languages, or nobody can know."""
        for part in self.where:
            text = joined(conversation, (part,))
            language = language_of(text)
            if language and language not in self.languages:
                return f"{part} in {language}, not in {', '.join(self.languages)}: {shown(text.strip())}"
        return conversation
