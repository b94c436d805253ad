"""Roughly how many words a text has, whatever its script.

"Explain how rain forms."     4 words, one per run between spaces
"ฝนเกิดขึ้นได้อย่างไร"             15 characters without marks, 4 to a word: 3 words
"비는 어떻게 생기나요?"          9 syllables, 2 to a word: 4 words
"雨はどうやってできますか"      12 characters, 2 to a word: 6 words
"""

from __future__ import annotations

import re

# Characters that make up one word on average. Thai, Lao, Khmer and Burmese words have four or five letters beside their marks;
# most Chinese words are two characters long. Korean has spaces, but what stands between them is a word with its particles: two
# English words in the mean, as Japanese phrases are.
_CHARACTERS_PER_WORD = {"th": 4, "lo": 4, "km": 4, "my": 4, "ko": 2, "kana": 2, "han": 2}
_LETTERS = {
    "th": "\u0e01-\u0e30\u0e32\u0e33\u0e40-\u0e46",
    "lo": "\u0e81-\u0eb0\u0eb2\u0eb3\u0ebd\u0ec0-\u0ec6\u0edc-\u0edf",
    "km": "\u1780-\u17b3",
    "my": "\u1000-\u102a\u1050-\u1055",
    "ko": "\u1100-\u11ff\u3131-\u318e\uac00-\ud7a3",
    "kana": "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\uff66-\uff9f",
    "han": "\u3005\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff",
}
_OF_SCRIPT = {script: re.compile(f"[{letters}]") for script, letters in _LETTERS.items()}
_ANY = re.compile("[" + "".join(_LETTERS.values()) + "]")
# With the marks that stand on the letters, so that none is left over when these are taken out.
_ANY_WITH_MARKS = re.compile("[" + "".join(_LETTERS.values()) + "\u0e00-\u0eff\u1780-\u17d3\u1000-\u103f]")
_WORD = re.compile(r"\w+")

# What a prompt calls the languages; others by their code, which language models know.
LANGUAGE_NAMES = {
    "en": "English", "th": "Thai", "ko": "Korean", "zh": "Chinese", "ja": "Japanese", "lo": "Lao", "km": "Khmer", "my": "Burmese",
    "vi": "Vietnamese", "id": "Indonesian", "ms": "Malay", "fr": "French", "de": "German", "es": "Spanish", "pt": "Portuguese",
    "ru": "Russian", "ar": "Arabic", "hi": "Hindi",
}  # fmt: skip


def unspaced(text: str) -> bool:
    """Whether `text` has letters of a script that puts no spaces between words, or of Korean."""
    return _ANY.search(text) is not None


def word_count(text: str) -> int:
    """Words between spaces where the script has spaces; elsewhere characters, by the rule of this file.

    >>> word_count("Say it twice, please"), word_count("เขียนบทกวี"), word_count("写一首诗"), word_count("GPT를 설명해 줘")
    (4, 2, 2, 3)
    """
    whole, share = 0, 0.0
    for piece in text.split():
        if not unspaced(piece):
            whole += 1
            continue
        share += sum(len(_OF_SCRIPT[script].findall(piece)) / per for script, per in _CHARACTERS_PER_WORD.items())
        whole += len(_WORD.findall(_ANY_WITH_MARKS.sub(" ", piece)))
    return whole + int(share)
