"""Steps that repair machine translation, as a cleaner of Korean ShareGPT translations first did (dsdanielpark/ko-guanaco-jindo).

    Replace        "물론, 알려드릴게요."                -> "물론이죠. 알려드릴게요."     a translated "Sure," put as Koreans say it
    StripLeading   "은 서울입니다."                    -> "서울입니다."              a particle whose noun was lost
    RestoreCode    input "Fix ```x=1```", answer "고침 ```엑스=1```"  -> "고침 ```x=1```"   code is not for translating
    StrayPrefix    "을 사용하세요."                    removed
    FirstWord      "론이죠. 알려드릴게요."               -> "물론이죠. 알려드릴게요."

Nothing in here is Korean: the words are in conf/cleaning/korean.yaml.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise

from kinnari.cleaning.step import RowStep
from kinnari.cleaning.texts import check_where, edit, shown, texts, until_stable
from kinnari.errors import ConfigError
from kinnari.text.conversation import Conversation, Message

CODE_BLOCK = re.compile(r"```.*?```", re.DOTALL)


@dataclass(frozen=True)
class Replace(RowStep):
    """Replaces what regular expressions match, one after the other.

    Args:
        patterns: expression -> replacement, with \\\\1 for groups; ^ and $ are the ends of a line.
        where: the parts edited (kinnari/cleaning/texts.py).
    """

    patterns: Mapping[str, str]
    where: tuple[str, ...] = ("answers",)

    def __post_init__(self) -> None:
        """Refuse expressions that are none."""
        super().__post_init__()
        check_where(self.where, self)
        for pattern, replacement in self.patterns.items():
            try:
                _compiled(pattern).sub(replacement, "")
                re.compile(pattern + "|").sub(replacement, "")  # an empty match uses every group
            except (re.error, IndexError) as problem:
                raise ConfigError(f"Replace: {pattern!r} -> {replacement!r} is no regular expression: {problem}.") from None

    def __call__(self, conversation: Conversation) -> Conversation | str:
        """The conversation with everything replaced."""
        return edit(conversation, self.where, until_stable(self._replaced))

    def _replaced(self, text: str) -> str:
        for pattern, replacement in self.patterns.items():
            text = _compiled(pattern).sub(replacement, text)
        return text


@dataclass(frozen=True)
class StripLeading(RowStep):
    """Takes off what a text must not begin with.

    Args:
        prefixes: as they stand, spaces included: "은 " takes nothing off "은행".
        where: the parts edited.
    """

    prefixes: tuple[str, ...]
    where: tuple[str, ...] = ("answers",)

    def __post_init__(self) -> None:
        """Refuse an empty prefix."""
        super().__post_init__()
        check_where(self.where, self)
        _check_words(self.prefixes, "prefixes", self)

    def __call__(self, conversation: Conversation) -> Conversation | str:
        """The conversation without such beginnings."""
        return edit(conversation, self.where, self._stripped)

    def _stripped(self, text: str) -> str:
        # One match, however many there are: taking them off one by one would copy the text as often.
        found = _compiled(rf"\A(?:{'|'.join(map(re.escape, self.prefixes))})+").match(text)
        return text[found.end() :] if found else text


@dataclass(frozen=True)
class RestoreCode(RowStep):
    """Puts the code blocks of a text back into its translation, the first for the first, the second for the second.

    A translation with more or fewer blocks than its original is removed: nobody can say which is which. Texts without any code on
    one side are left alone.

    Args:
        instructions: only user turns that say one of these are translations; without any, every turn with a context is one.
    """

    instructions: tuple[str, ...] = ()

    def __call__(self, conversation: Conversation) -> Conversation | str:
        """The conversation with its code as it was before translation."""
        messages = list(conversation.messages)
        for i, (before, after) in enumerate(pairwise(conversation.messages), start=1):
            if before.role != "user" or after.role != "assistant" or not self._is_translation(before):
                continue
            original, translated = CODE_BLOCK.findall(before.context), CODE_BLOCK.findall(after.content)
            if not original or not translated or original == translated:
                continue
            if len(original) != len(translated):
                return f"the original has {len(original)} code blocks, its translation {len(translated)}"
            blocks = iter(original)
            messages[i] = replace(after, content=CODE_BLOCK.sub(lambda _, blocks=blocks: next(blocks), after.content))  # type: ignore[misc]
        return conversation if messages == list(conversation.messages) else replace(conversation, messages=tuple(messages))

    def _is_translation(self, message: Message) -> bool:
        return bool(message.context) and (not self.instructions or any(i in message.content for i in self.instructions))


@dataclass(frozen=True)
class StrayPrefix(RowStep):
    """Removes a conversation with a text whose first word is one of the prefixes: its real beginning was lost.

    Args:
        prefixes: whole words or marks: "을" removes "을 사용하세요." and not "을지로에 있습니다.".
        where: the parts each of whose texts is looked at.
    """

    prefixes: tuple[str, ...]
    where: tuple[str, ...] = ("answers",)

    def __post_init__(self) -> None:
        """Refuse an empty prefix."""
        super().__post_init__()
        check_where(self.where, self)
        _check_words(self.prefixes, "prefixes", self)

    def __call__(self, conversation: Conversation) -> Conversation | str:
        """The conversation if no text begins so."""
        for text in texts(conversation, self.where):
            first = first_word(text)
            if first in self.prefixes:
                return f"begins with a stray {first!r}: {shown(text)}"
        return conversation


@dataclass(frozen=True)
class FirstWord(RowStep):
    """Mends the first word of a text.

    Args:
        restored: clipped first word -> what it was; punctuation after it stays.
        removed: first words taken off, with the spaces after them.
        where: the parts edited.
    """

    restored: Mapping[str, str] = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    where: tuple[str, ...] = ("answers",)

    def __post_init__(self) -> None:
        """Refuse a restored word that is clipped itself: there would be no end."""
        super().__post_init__()
        check_where(self.where, self)
        if self.restored or self.removed:
            _check_words((*self.restored, *self.removed), "restored and removed", self)
        mended = {*self.restored, *self.removed}
        endless = [value for value in self.restored.values() if {first_word(value), first_word(value).rstrip(",.!?")} & mended]
        if endless:
            raise ConfigError(f"FirstWord: {endless} are results of `restored` that it mends again. Give the end result.")

    def __call__(self, conversation: Conversation) -> Conversation | str:
        """The conversation with its first words mended; an empty text stays as it is."""
        return edit(conversation, self.where, self._mended)

    def _mended(self, text: str) -> str:
        first = first_word(text)
        if first in self.removed:
            kept = next((match for match in re.finditer(r"\S+", text) if match[0] not in self.removed), None)
            text = text[kept.start() :] if kept else ""
            first = first_word(text)
        word = first.rstrip(",.!?")
        for clipped in (first, word):
            if clipped in self.restored:
                return text.replace(clipped, self.restored[clipped], 1)
        return text


def first_word(text: str) -> str:
    """What stands before the first white space; empty for an empty text."""
    return next(iter(text.split(maxsplit=1)), "")


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.MULTILINE)


def _check_words(words: tuple[str, ...], name: str, step: object) -> None:
    if not words or not all(isinstance(word, str) and word.strip() for word in words):
        raise ConfigError(f"{type(step).__name__}: {name}={list(words)} must be one or more texts that are not empty.")
