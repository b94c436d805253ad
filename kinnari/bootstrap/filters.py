"""Rules that an instruction must pass, each with the name its rejects bear.

    too_short, too_long    fewer than 4 or more than 150 words (kinnari.bootstrap.scripts says what a word is)
    unwanted_word          asks for what text cannot give: an image, a file, a video
    unwanted_start         "Write a program ...", of which models write too many
    punctuation_first      begins with punctuation or a symbol
    not_ascii_first        begins with a character outside ASCII; off, as it would leave out every language but English
    similar                ROUGE-L F above 0.7 with a seed or a kept instruction

Source of the rules and figures: tatsu-lab/stanford_alpaca, generate_instruction.py, and yizhongw/self-instruct. Words of other
languages than English are ours.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from kinnari.bootstrap.scripts import unspaced, word_count
from kinnari.errors import ConfigError

_HANGUL = re.compile("[\uac00-\ud7a3]")
_KATAKANA = re.compile("[\u30a1-\u30fa\u30fc]")
_LATIN = "0-9A-Za-z_\u00c0-\u024f"
# What may follow a Korean noun within its word: number, then particles.
_PARTICLES = (
    "(?:들)?(?:에서|에게|으로|로|까지|부터|처럼|보다|이나|나|이라는|라는|이라고|라고"
    "|을|를|이|가|은|는|에|의|와|과|도|만)?(?:는|은|도|만|의)?"
)


@dataclass(frozen=True, kw_only=True)
class InstructionFilters:
    """The rules with their figures.

    Args:
        fewest_words, most_words: both are allowed.
        unwanted_words: language -> words. Whole words, in any case, where words are set apart; in Korean also with particles; in
            katakana not within a longer word; in Thai, Chinese and other Japanese text anywhere.
        harmless_words: words that hold an unwanted one and are nevertheless fine (Thai for profile holds that for file).
        unwanted_starts: how an instruction may not begin, in any case.
        ascii_first: leave out what begins with a character outside ASCII, as the published pipelines do.
        most_similar: the highest similarity that is kept.

    Raises:
        ConfigError: a figure is out of its range, or a list holds something else than text.
    """

    fewest_words: int = 4
    most_words: int = 150
    unwanted_words: Mapping[str, Sequence[str]] = field(default_factory=dict)
    harmless_words: Sequence[str] = ()
    unwanted_starts: Sequence[str] = ()
    ascii_first: bool = False
    most_similar: float = 0.7

    def __post_init__(self) -> None:
        if not 0 <= self.fewest_words <= self.most_words:
            raise ConfigError(f"fewest_words={self.fewest_words} and most_words={self.most_words} leave no length; the first must be "
                              "the lower one.")  # fmt: skip
        if not 0 < self.most_similar <= 1:
            raise ConfigError(f"most_similar={self.most_similar} must be above 0 and at most 1, which keeps all but copies.")
        words = [word for group in self.unwanted_words.values() for word in group]
        wrong = [word for word in [*words, *self.harmless_words, *self.unwanted_starts] if not isinstance(word, str) or not word.strip()]
        if wrong:
            raise ConfigError(
                f"{wrong[0]!r} among the words of bootstrap.filters is no text; put words in quotes (yaml reads no as false)."
            )

    def compile(self) -> Callable[[str], str | None]:
        """A function that names the first rule an instruction breaks, similarity left out; None where it breaks none."""
        unwanted = _unwanted_words(self.unwanted_words)
        harmless = _any_of(re.escape(word) for word in self.harmless_words)
        starts = tuple(start.casefold() for start in self.unwanted_starts)

        def broken_rule(instruction: str) -> str | None:
            words = word_count(instruction)
            if words < self.fewest_words:
                return "too_short"
            if words > self.most_words:
                return "too_long"
            if unwanted.search(harmless.sub(" ", instruction)):
                return "unwanted_word"
            if instruction.casefold().startswith(starts):
                return "unwanted_start"
            first = instruction.lstrip()[:1]
            if first and unicodedata.category(first)[0] in "PS":
                return "punctuation_first"
            return "not_ascii_first" if self.ascii_first and not first.isascii() else None

        return broken_rule


def _unwanted_words(words: Mapping[str, Sequence[str]]) -> re.Pattern[str]:
    return _any_of(_as_pattern(word) for group in words.values() for word in group)


def _any_of(patterns: object) -> re.Pattern[str]:
    return re.compile("|".join(patterns) or r"(?!)", re.IGNORECASE)  # type: ignore[arg-type]


def _as_pattern(word: str) -> str:
    """What finds a word as a word of its script."""
    exact = re.escape(word)
    if _HANGUL.search(word):
        return f"(?<![\uac00-\ud7a3]){exact}{_PARTICLES}(?![\uac00-\ud7a3])"
    if _KATAKANA.fullmatch(word[0]) and _KATAKANA.fullmatch(word[-1]):
        return f"(?<![\u30a1-\u30fa\u30fc]){exact}(?![\u30a1-\u30fa\u30fc])"
    # Not \b: that sees no border between a Latin word and the Korean particle or Thai word behind it.
    return exact if unspaced(word) else f"(?<![{_LATIN}]){exact}(?![{_LATIN}])"
