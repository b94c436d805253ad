"""ROUGE for any script.

The usual tokeniser (of `rouge_score`, and of torchmetrics) keeps [a-z0-9] alone: a perfect Thai answer scores 0. Here words
are runs of letters and digits, and in scripts that put no spaces between words (Thai, Lao, Khmer, Burmese, Chinese, Japanese), and
in Korean, whose particles cling to the word, every character is a token of its own, with the vowel and tone marks upon it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

ROUGE = ("rouge1", "rouge2", "rougeL", "rougeLsum")

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


class _Tokens:
    """`rouge_tokens` in the form that rouge_score asks for."""

    tokenize = staticmethod(rouge_tokens)


def rouge(answers: Sequence[str], references: Sequence[str], names: Sequence[str] = ROUGE) -> dict[str, list[float]]:
    """F-measures in [0, 1], one per answer, by the reference implementation over `rouge_tokens`; `names` says which.

    rouge1 and rouge2 count common single tokens and pairs, rougeL the longest common subsequence, rougeLsum the union of those of
    the lines (equal to rougeL where there is one line). An answer or a reference without a token scores 0.

    Source: Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries"; the package rouge_score.
    """
    from rouge_score.rouge_scorer import RougeScorer  # imports nltk, which takes a second

    scorer = RougeScorer(list(names), tokenizer=_Tokens)
    scores = [scorer.score(reference, answer) for answer, reference in zip(answers, references, strict=True)]
    return {name: [score[name].fmeasure for score in scores] for name in names}


def rouge_l(answers: Sequence[str], references: Sequence[str]) -> list[float]:
    """F-measure of the longest common subsequence, per answer, in [0, 1]."""
    return rouge(answers, references, ["rougeL"])["rougeL"]
