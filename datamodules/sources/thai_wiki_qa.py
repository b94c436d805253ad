"""Questions about a passage of Thai Wikipedia, with the answer that stands in it, json lines of

    {"question_id": "01KZ_000", "question": "สุนัขตัวแรกเกิดวันที่เท่าไร", "context": "สุนัขตัวแรก (เกิด 3 ธันวาคม) ...", "answer": "3 ธันวาคม"}

Source: iapp-technology/iapp-wiki-qa-dataset, MIT; its squad files have `answers` {"text": [..]} where these rows have `answer`, both are
read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from datamodules.sources.columns import wrong_text_columns
from datamodules.sources.source import FileSource
from kinnari.text.conversation import Message


@dataclass(frozen=True, kw_only=True)
class ThaiWikiQA(FileSource):
    """Rows of question, passage and answer."""

    name: str = "thai_wiki_qa"
    language: str = "th"
    licence: str = "MIT"

    def convert(self, row: Any) -> tuple[Message, ...] | str:
        """The question with its passage as context, and the answer (the first of several)."""
        if isinstance(row, dict) and "answer" not in row and isinstance(row.get("answers"), dict):
            texts = row["answers"].get("text")
            row = {**row, "answer": texts[0] if isinstance(texts, list) and texts else None}
        problem = wrong_text_columns(row, ("question", "context", "answer"))
        return problem or (Message("user", row["question"], context=row["context"]), Message("assistant", row["answer"]))
