"""First questions of OASST1 with the answer people liked best, a csv file of Thai, Japanese and Vietnamese rows:

    lang,message_tree_id,message_id,parent_id,prompt_nb_net_plus,answer_nb_net_plus,prompt,answer
    th,a322..,a322..,a322..,2,2,แมวกินอะไร,แมวเป็นสัตว์กินเนื้อ ...

`answer_nb_net_plus` counts thumbs up less thumbs down. Source: PyThaiNLP/WangChanGLM, data/oasst1_selected.csv, 245 rows that served as its
evaluation set: do not train on what you evaluate on. Apache-2.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from datamodules.sources.columns import wrong_text_columns
from datamodules.sources.source import FileSource
from kinnari.text.conversation import Message


@dataclass(frozen=True, kw_only=True)
class Oasst1Selected(FileSource):
    """Rows of one question and one answer.

    Args:
        languages: values of `lang` to keep; None for all.
    """

    languages: list[str] | None = None
    name: str = "oasst1_selected"
    licence: str = "Apache-2.0"

    def convert(self, row: Any) -> tuple[Message, ...] | str:
        """`prompt` and `answer`."""
        problem = wrong_text_columns(row, ("lang", "prompt", "answer"))
        if problem:
            return problem
        if self.languages is not None and row["lang"] not in self.languages:
            return f"its language {row['lang'][:20]!r} is not among those asked for"
        return Message("user", row["prompt"].strip()), Message("assistant", row["answer"].strip())

    def row_language(self, row: Any) -> str:
        """What `lang` says."""
        return row["lang"]
