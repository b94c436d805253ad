"""CSL: are these all keywords of the paper with this abstract, or is one of them foreign?

Rows {abst, keyword: [..], label: 0 | 1}. CLUEbenchmark/CLUE, FewCLUE.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kinnari.evaluation.benchmarks.classification import Classification
from kinnari.evaluation.benchmarks.prompt_form import PromptForm
from kinnari.evaluation.benchmarks.rows import Row

WORDS = {"0": "不是", "1": "是"}
PUBLISHED = PromptForm("摘要:{abst}，关键词:{keyword}{label}真实关键词", WORDS, separator="\n")
LABEL_LAST = PromptForm("摘要：{abst}\n关键词：{keyword}\n以上全部是该论文的真实关键词吗？是，还是不是？\n答案：{label}", WORDS)


@dataclass(frozen=True, kw_only=True)
class CSL(Classification):
    """Chinese scientific literature."""

    in_system_r: ClassVar[bool] = True

    def forms(self) -> dict[str, PromptForm]:
        """Both wordings."""
        return {"label_last": LABEL_LAST, "published": PUBLISHED}

    def fields(self, row: Row) -> dict[str, str]:
        """The abstract, and the keywords joined by +."""
        return {"abst": row.text("abst"), "keyword": "+".join(row.texts("keyword"))}
