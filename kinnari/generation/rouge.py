"""ROUGE-L for any script.

The usual tokeniser (`rouge_score`, and the default of torchmetrics) keeps [a-z0-9] alone: a perfect Thai answer scores 0. Here words
are runs of letters and digits, and in scripts that put no spaces between words (Thai, Lao, Khmer, Burmese, Chinese, Japanese), and
in Korean, whose particles cling to the word, every character is a token of its own, with the vowel and tone marks upon it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from torchmetrics.functional.text import rouge_score

_BY_CHARACTER = re.compile(
    "[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3040-\u30ff\u3130-\u318f"
    "\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff]"
)


def rouge_tokens(text: str) -> list[str]:
    """Tokens of `text`, case and width folded, punctuation left out.

    >>> rouge_tokens("It's 3 ราคา, 가격!")
    ['it', 's', '3', 'ร', 'า', 'ค', 'า', '가', '격']
    """
    tokens: list[str] = []
    glue = False  # the character before belongs to a token that this one may continue
    for character in unicodedata.normalize("NFKC", text).casefold():
        kind = unicodedata.category(character)[0]
        if kind == "M" and glue:
            tokens[-1] += character
        elif kind not in "LMN":
            glue = False
        elif _BY_CHARACTER.match(character) or not glue or _BY_CHARACTER.match(tokens[-1]):
            tokens.append(character)
            glue = True
        else:
            tokens[-1] += character
    return tokens


def rouge_l(answers: Sequence[str], references: Sequence[str]) -> list[float]:
    """F-measure of the longest common subsequence, per answer, in [0, 1].

    Source: Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries", section 3.1.
    """
    scores = []
    for answer, reference in zip(answers, references, strict=True):
        if not rouge_tokens(answer) or not rouge_tokens(reference):
            scores.append(0.0)
            continue
        found = rouge_score(answer, reference, rouge_keys="rougeL", normalizer=lambda text: text, tokenizer=rouge_tokens)
        scores.append(float(found["rougeL_fmeasure"]))
    return scores
