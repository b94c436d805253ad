"""EPRSTMT: is a customer's review of a product good or bad?

Rows {sentence, label: Positive | Negative}. FewCLUE.
"""

from __future__ import annotations

from dataclasses import dataclass

from kinnari.evaluation.benchmarks.classification import Classification
from kinnari.evaluation.benchmarks.prompt_form import PromptForm
from kinnari.evaluation.benchmarks.rows import Row

LABEL_LAST = PromptForm("{sentence}\n总的来说，这个东西很{label}", {"Negative": "差", "Positive": "好"})


@dataclass(frozen=True, kw_only=True)
class EPRSTMT(Classification):
    """Reviews of a shop's goods."""

    def forms(self) -> dict[str, PromptForm]:
        """One wording; system R did not have this benchmark."""
        return {"label_last": LABEL_LAST}

    def fields(self, row: Row) -> dict[str, str]:
        """The review."""
        return {"sentence": row.text("sentence")}
