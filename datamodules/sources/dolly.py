"""Dolly v2, instructions and answers written by the employees of Databricks, file databricks-dolly-15k.jsonl:

    {"instruction": "When did the airline begin?", "context": "Virgin Australia ... 31 August 2000", "response": "On 31 August 2000.",
     "category": "closed_qa"}

Source: databricks/databricks-dolly-15k, 15,011 rows, English, CC-BY-SA-3.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from datamodules.sources.columns import wrong_text_columns
from datamodules.sources.source import FileSource
from kinnari.text.conversation import Message


@dataclass(frozen=True, kw_only=True)
class Dolly(FileSource):
    """A file of Dolly rows.

    Args:
        categories: those to keep (closed_qa, open_qa, classification, ...); None for all.
    """

    name: str = "dolly"
    language: str = "en"
    licence: str = "CC-BY-SA-3.0"
    categories: list[str] | None = None

    def convert(self, row: Any) -> tuple[Message, ...] | str:
        """A question with its context, and the response."""
        problem = wrong_text_columns(row, ("instruction", "response"), ("context",))
        if problem:
            return problem
        if self.categories is not None and row.get("category") not in self.categories:
            return f"category {str(row.get('category'))[:40]!r} is not among {', '.join(self.categories)}"
        return Message("user", row["instruction"], context=row.get("context") or ""), Message("assistant", row["response"])
