"""What is plainly wrong with a translation, without knowing either language.

"Good morning, {name}"  ->  "สวัสดีตอนเช้า"      the placeholder {name} is lost
"Write a poem"          ->  "Write a poem"      the translation is the source
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from kinnari.errors import ConfigError
from kinnari.translation.languages import language, script_share
from kinnari.translation.passages import CODE_BLOCK

# Whatever must arrive as it was. An address begins at a border: else it would be looked for in vain from every letter of a long word on.
# A brace with spaces or line breaks in it is a sentence or code, not a placeholder.
_PLACEHOLDER = re.compile(
    r"https?://[^\s<>\"'）。，、]+|(?<![\w.+-])[\w.+-]{1,64}@[\w-]+\.[\w.]+"
    r"|\{\{[\w.\- ]+\}\}|\{\w+\}|%\(\w+\)[sdif]|%[sd]\b|\$\{\w+\}|\[[A-Z][A-Z0-9_]+\]"
)
_TRAILING = ".,;:!?)]}"  # belongs to the sentence, not to the address before it
_WORD = re.compile(r"[^\W_]+")
_INLINE_CODE = re.compile(r"`[^`\n]+`")
_SHORTEST_FOR_RATIO = 20  # characters, English = 1; below, a single word decides
_SHORTEST_FOR_LANGUAGE = 40  # letters; below, the language of Latin text is a guess


@dataclass(frozen=True, kw_only=True)
class TranslationChecks:
    """Bounds of what is believed.

    Args:
        ratio: lowest and highest length of a translation over that of its source, both in characters divided by the language's usual
            number for the same content; null for no bound.
        script: lowest share of letters in the target language's script; words with a capital letter that the source has too, which are
            names mostly, do not count.
        same_letters: a text of fewer letters may be its own translation (a name, a formula).
        placeholders: addresses, {name}, %s, [URL] and `inline code` must all be there.
        code_blocks: fenced code must be there, unchanged and in the same order.

    Raises:
        ConfigError: a bound that nothing, or everything, could pass.
    """

    ratio: tuple[float, float] | None = (0.25, 4.0)
    script: float = 0.3
    same_letters: int = 12
    placeholders: bool = True
    code_blocks: bool = True

    def __post_init__(self) -> None:
        if self.ratio is not None and not (len(self.ratio) == 2 and 0 <= self.ratio[0] < self.ratio[1]):
            raise ConfigError(f"task.checks.ratio={list(self.ratio)} must be [lowest, highest], such as [0.25,4], or null for no bound.")
        if not 0 <= self.script <= 1:
            raise ConfigError(f"task.checks.script={self.script} is a share of letters; it must be between 0 and 1.")

    def problem(self, text: str, translation: str, source: str, target: str) -> str | None:
        """Why `translation` is no translation of `text`, or None."""
        if not text.strip():
            return None
        if not translation.strip():
            return "the translation is empty"
        prose, translated_prose = prose_of(text), prose_of(translation)
        return (
            self._code(text, translation)
            or self._same(prose, translated_prose)
            or self._lost(text, translation)
            or self._script(prose, translated_prose, source, target)
            or self._length(prose, translated_prose, source, target)
        )

    def _code(self, text: str, translation: str) -> str | None:
        if not self.code_blocks:
            return None
        blocks = [block.strip() for block in code_blocks(text)]
        return None if blocks == [block.strip() for block in code_blocks(translation)] else "a code block is lost or changed"

    def _same(self, prose: str, translation: str) -> str | None:
        letters = sum(c.isalpha() for c in prose)
        return "the translation is the source" if letters >= max(1, self.same_letters) and prose.strip() == translation.strip() else None

    def _lost(self, text: str, translation: str) -> str | None:
        if not self.placeholders:
            return None
        lost = placeholders(text) - placeholders(translation)
        return f"the placeholder {next(iter(lost))[:60]} is lost" if lost else None

    def _script(self, prose: str, translation: str, source: str, target: str) -> str | None:
        share, own = script_share(_without_names(prose, translation), target), script_share(prose, source)
        # A source that is not written in its own language (a table, code without a fence) says nothing about its translation.
        if share is not None and share < self.script and (own is None or own >= self.script):
            return f"only {share:.0%} of the letters are those of {language(target).name}"
        shared = set(language(source).scripts) & set(language(target).scripts)
        if shared and self.script > 0 and sum(c.isalpha() for c in translation) >= _SHORTEST_FOR_LANGUAGE:
            from kinnari.text.language import language_of  # a model of its own, wanted only where letters decide nothing

            if language_of(translation) == source:
                return f"it is still in {language(source).name}"
        return None

    def _length(self, prose: str, translation: str, source: str, target: str) -> str | None:
        before, after = len(prose.strip()) / language(source).width, len(translation.strip()) / language(target).width
        if self.ratio is None or before < _SHORTEST_FOR_RATIO or self.ratio[0] <= after / before <= self.ratio[1]:
            return None
        return f"it is {after / before:.2g} times as long as its source"


def _without_names(prose: str, translation: str) -> str:
    names = {word for word in _WORD.findall(prose) if word.lower() != word}
    return _WORD.sub(lambda found: " " if found.group() in names else found.group(), translation) if names else translation


def code_blocks(text: str) -> list[str]:
    """The fenced code blocks of a text, fences included."""
    return [found.group() for found in CODE_BLOCK.finditer(text)]


def prose_of(text: str) -> str:
    """The text without what is the same in every language."""
    return _PLACEHOLDER.sub(" ", _INLINE_CODE.sub(" ", CODE_BLOCK.sub("\n", text)))


def placeholders(text: str) -> Counter[str]:
    """Placeholders, addresses and inline code outside code blocks, with how often each occurs."""
    outside = CODE_BLOCK.sub("\n", text)
    inline = _INLINE_CODE.findall(outside)
    return Counter(inline) + Counter(
        found.rstrip(_TRAILING) if "//" in found else found for found in _PLACEHOLDER.findall(_INLINE_CODE.sub(" ", outside))
    )
