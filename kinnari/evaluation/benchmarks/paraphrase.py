"""AFQMC and BUSTM: do two short sentences mean the same?

Rows {sentence1, sentence2, label: 0 | 1}. CLUEbenchmark/CLUE (AFQMC), FewCLUE (BUSTM).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kinnari.evaluation.benchmarks.classification import Classification
from kinnari.evaluation.benchmarks.prompt_form import PromptForm
from kinnari.evaluation.benchmarks.rows import Row

WORDS = {"0": "不同", "1": "相同"}
PUBLISHED = PromptForm("下面两个句子语义{label}:{sentence1}。{sentence2}", WORDS, separator="\n")
LABEL_LAST = PromptForm("句子一：{sentence1}\n句子二：{sentence2}\n两个句子的语义相同还是不同？\n答案：{label}", WORDS)


@dataclass(frozen=True, kw_only=True)
class AFQMC(Classification):
    """Questions of a bank's customers."""

    in_system_r: ClassVar[bool] = True

    def forms(self) -> dict[str, PromptForm]:
        """Both wordings."""
        return {"label_last": LABEL_LAST, "published": PUBLISHED}

    def fields(self, row: Row) -> dict[str, str]:
        """Both sentences."""
        return {column: row.text(column) for column in ("sentence1", "sentence2")}


@dataclass(frozen=True, kw_only=True)
class BUSTM(AFQMC):
    """Commands to a voice assistant; system R did not have it, AFQMC's string suits it."""

    in_system_r: ClassVar[bool] = False
