"""News summaries with readers' comments from Weibo, one json object a line:

    {"article": "新华社 北京 ...", "abstract": "...", "comments": [["说得好", 12], ["不同意", 3]]}

A comment's score is its likes. The files come with spaces between words, which are removed as in sunzeyeah/RLHF.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from datamodules.sources.columns import wrong_text_columns
from datamodules.sources.ranked import RankedFileSource, Ranking, joined, number_of, on_one_line
from kinnari.text.conversation import Message
from kinnari.text.ranked import ScoredAnswer


@dataclass(frozen=True, kw_only=True)
class Weibo(RankedFileSource):
    """Articles with comments, sorted by likes and then by length, falling.

    Args:
        remove_spaces: whether spaces go from article, abstract and comments.
        separator: between the parts of the prompt; system R's own models take "<sep>".
    """

    remove_spaces: bool = True
    separator: str = "\n"
    name: str = "weibo"
    language: str = "zh"

    def rank(self, row: Any) -> Ranking | str:
        """The comments of one article; those that are no [text, likes] are left out."""
        problem = wrong_text_columns(row, ("article", "abstract"))
        if problem:
            return problem
        found = row.get("comments")
        if not isinstance(found, list):
            return f"column 'comments' must be a list of [text, likes], this one is a {type(found).__name__}"
        scored = [(text, likes) for text, likes in map(self._comment, found) if text]
        if not scored:
            return "no comment is text with a number of likes"
        scored.sort(key=lambda comment: (-comment[1], -len(comment[0])))
        parts = (f"新闻内容：{self._clean(row['article'])}", f"摘要：{self._clean(row['abstract'])}", "评论：")
        prompt = Message("user", joined(parts, self.separator))
        return (prompt,), tuple(ScoredAnswer(text, likes) for text, likes in scored)

    def _comment(self, comment: Any) -> tuple[str, float]:
        if not isinstance(comment, list) or len(comment) != 2 or not isinstance(comment[0], str):
            return "", 0.0
        likes = number_of(comment[1])
        return ("", 0.0) if likes is None else (self._clean(comment[0]), likes)

    def _clean(self, text: str) -> str:
        text = on_one_line(text)
        return text.replace(" ", "") if self.remove_spaces else text
