"""Encyclopaedia questions (baike_qa2019), one json object a line with one answer each:

    {"qid": "qid_1815059893214501395", "category": "烦恼-恋爱", "title": "请问...?", "desc": "我...", "answer": "..."}

One answer makes no pair: the source serves supervised fine-tuning alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from datamodules.sources.columns import wrong_text_columns
from datamodules.sources.ranked import RankedFileSource, Ranking, joined, on_one_line
from kinnari.text.conversation import Message
from kinnari.text.ranked import ScoredAnswer


@dataclass(frozen=True, kw_only=True)
class Baike(RankedFileSource):
    """Questions; asked with the longer of title and description, as in sunzeyeah/RLHF.

    Args:
        separator: between the parts of the prompt; system R's own models take "<sep>".
    """

    separator: str = "\n"
    name: str = "baike"
    language: str = "zh"

    def rank(self, row: Any) -> Ranking | str:
        """The question and its answer, score 1."""
        problem = wrong_text_columns(row, ("answer",), ("title", "desc"))
        if problem:
            return problem
        question = max((on_one_line(row.get(column) or "") for column in ("title", "desc")), key=len)
        answer = on_one_line(row["answer"])
        if not question or not answer:
            return "the title and the description are both empty, or the answer is"
        return (Message("user", joined((question, "回答："), self.separator)),), (ScoredAnswer(answer, 1.0),)
