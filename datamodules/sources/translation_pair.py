"""Two texts that translate each other, as a request to translate and its answer; which is Korean is told from the letters.

    translation("How are you?", "어떻게 지내세요?")
    -> Message("user", "다음을 한국어로 번역해.", context="How are you?"), Message("assistant", "어떻게 지내세요?")

The pairs that ko-guanaco-jindo ships ask to "translate the following into English" where the text is English and the answer Korean.
Here the request follows the texts, so it cannot be wrong. Instruction strings: its src/preprocessing/data_gen.py, mended.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from kinnari.text.conversation import Message

INTO_KOREAN = "다음을 한국어로 번역해."
INTO_ENGLISH = "Translate the following into English."
ENGLISH_SHARE = 0.9  # of a text's letters are ASCII; a German, French or Turkish text has its accents, but one without passes

_KOREAN = re.compile("[\uac00-\ud7a3\u1100-\u11ff\u3131-\u318e]+")
Direction = Literal["into_korean", "into_english"]


def hangul(text: str) -> int:
    """Number of Korean letters: syllables (U+AC00 to U+D7A3) and jamo."""
    return 0 if text.isascii() else sum(map(len, _KOREAN.findall(text)))


def direction_of(sources: Iterable[str], targets: Iterable[str]) -> Direction | None:
    """Which side is Korean, by the number of Korean letters; None if neither has more than twice as many as the other.

    A Korean answer may be mostly code and an English one may quote Korean, so counts of both sides are compared and no share is asked for.
    """
    source, target = sum(map(hangul, sources)), sum(map(hangul, targets))
    if target > 2 * source:
        return "into_korean"
    return "into_english" if source > 2 * target else None


def translation(source: str, target: str, direction: Direction | None = None) -> tuple[Message, ...] | str:
    """The request and its answer, or the reason why the two texts are no pair to train on.

    Args:
        source, target: what is asked to be translated, and the translation.
        direction: known from more text than these two; told from them if None.
    """
    source, target = source.strip(), target.strip()
    if not source or not target:
        return "one side of the pair is empty"
    if source == target:
        return "both sides of the pair are the same text"
    direction = direction or direction_of([source], [target])
    if direction is None:
        return "neither side of the pair is plainly the Korean one"
    if not _KOREAN.search(target if direction == "into_korean" else source):
        return "the Korean side of the pair holds no Korean letter"
    if direction == "into_korean":
        return Message("user", INTO_KOREAN, context=source), Message("assistant", target)
    if not _mostly_english(target):
        return "the translation is not English"
    return Message("user", INTO_ENGLISH, context=source), Message("assistant", target)


def _mostly_english(text: str) -> bool:
    if text.isascii():
        return True
    letters = [c for c in text if c.isalpha()]
    return sum(c.isascii() for c in letters) >= ENGLISH_SHARE * len(letters)
