"""OCNLI and CMNLI: does the first sentence say that the second is so?

Rows {sentence1, sentence2, label: entailment | neutral | contradiction | -}; `-` is where the annotators did not agree, and is no
question. CLUEbenchmark/OCNLI, CLUEbenchmark/CLUE, FewCLUE.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kinnari.evaluation.benchmarks.classification import Classification
from kinnari.evaluation.benchmarks.prompt_form import PromptForm
from kinnari.evaluation.benchmarks.rows import Row

PUBLISHED = PromptForm("{sentence1}?{label}，{sentence2}", {"entailment": "Yes", "neutral": "Maybe", "contradiction": "No"}, separator="\n")
LABEL_LAST = PromptForm(
    "前提：{sentence1}\n假设：{sentence2}\n假设成立吗？是，不是，还是也许？\n答案：{label}",
    {"entailment": "是", "neutral": "也许", "contradiction": "不是"},
)


@dataclass(frozen=True, kw_only=True)
class OCNLI(Classification):
    """Original Chinese natural language inference."""

    in_system_r: ClassVar[bool] = True
    skipped_labels: ClassVar[tuple[str, ...]] = ("-",)

    def forms(self) -> dict[str, PromptForm]:
        """Both wordings."""
        return {"label_last": LABEL_LAST, "published": PUBLISHED}

    def fields(self, row: Row) -> dict[str, str]:
        """Both sentences."""
        return {column: row.text(column) for column in ("sentence1", "sentence2")}


@dataclass(frozen=True, kw_only=True)
class CMNLI(OCNLI):
    """Chinese multi-genre natural language inference, translated; as OCNLI."""
