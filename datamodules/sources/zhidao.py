"""Questions of Baidu Zhidao with all their replies, a csv file:

    title,question,reply,is_best
    夏天吃什么水果好,天气很热，想吃点水果,西瓜，解渴又便宜。,1
    夏天吃什么水果好,天气很热，想吃点水果,都行,0

The rows of a question stand one after another. The best reply scores 1, the others 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datamodules.reading import Row, data_files, read_rows
from datamodules.sources.columns import wrong_text_columns
from datamodules.sources.ranked import RankedSource, Ranking, joined, number_of, on_one_line
from kinnari.text.conversation import Message, Reject
from kinnari.text.pairs import best_first
from kinnari.text.ranked import RankedAnswers, ScoredAnswer


@dataclass(frozen=True, kw_only=True)
class Zhidao(RankedSource):
    """Questions with replies; neighbouring rows of one title are one question.

    Args:
        path: a file, a folder of files, or the name of a hub dataset; see `datamodules.reading`.
        split, subset: of the hub dataset.
        separator: between the parts of the prompt; system R's own models take "<sep>".
    """

    path: str
    split: str = "train"
    subset: str | None = None
    separator: str = "\n"
    name: str = "zhidao"
    language: str = "zh"

    def files(self) -> list[Path]:
        """The local files behind `path`."""
        return data_files(self.path)

    def read_ranked(self) -> Iterator[RankedAnswers | Reject]:
        """One prompt per question; `record_id` counts rows and names the first one of the question."""
        rows = enumerate(read_rows(self.path, split=self.split, subset=self.subset))
        good: list[tuple[int, dict[str, Any]]] = []
        for number, (file, row) in rows:
            reason = row.error or wrong_row(row)
            if reason:
                yield Reject(source=self.name, file=file, line=row.line, reason=reason, row=row.value)
                continue
            if good and on_one_line(good[0][1]["title"]) != on_one_line(row.value["title"]):
                yield self.ranked(self._rank([value for _, value in good]), good[0][0])
                good = []
            good.append((number, row.value))
        if good:
            yield self.ranked(self._rank([value for _, value in good]), good[0][0])

    def _rank(self, rows: list[dict[str, Any]]) -> Ranking:
        title = on_one_line(rows[0]["title"])
        bodies = (on_one_line(row.get("question") or "") for row in rows)
        body = next((text for text in bodies if text and text != title), "")
        parts = (f"问题：{title}", *([f"内容：{body}"] if body else []), "回答：")
        answers = best_first(ScoredAnswer(on_one_line(row["reply"]), float(bool(number_of(row["is_best"])))) for row in rows)
        return (Message("user", joined(parts, self.separator)),), answers


def wrong_row(row: Row) -> str | None:
    """Why a row is none of this source, or None."""
    problem = wrong_text_columns(row.value, ("title", "reply"), ("question",))
    if problem:
        return problem
    return None if number_of(row.value.get("is_best")) is not None else "column 'is_best' is not 0 or 1"
