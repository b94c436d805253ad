"""Threads of the Thai forum Pantip with their comments, json lines of both kinds in any order:

    {"content_id": 30001, "title": "ซื้อคอนโดดีไหม", "content": "...", "total_field": 12, "like_score": 3, ...}
    {"content_id": 30001, "comment_id": 7, "order_comment": "1", "comment": "...", "like_score": 5, "feel_heart": 2, ...}

What PyThaiNLP/WangChanGLM made of them for its reward model: a comment's score is its number of interactions, like_score plus six
reactions; only comments on the thread itself (an answer to a comment has a dash in `order_comment`), the five with most interactions;
only threads that ask something. Texts end at the forum's edit marker, addresses become [URL], the spoiler label goes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datamodules.reading import Row, data_files, read_rows
from datamodules.sources.ranked import RankedSource, number_of
from kinnari.text.conversation import Message, Reject
from kinnari.text.ranked import RankedAnswers, ScoredAnswer

COUNTERS = ("like_score", "feel_heart", "feel_laugh", "feel_love", "feel_sad", "feel_horror", "feel_wow")
QUESTION_WORDS = (
    "ใคร", "ทำไม", "อะไร", "ไหน", "ไหม", "มั้ย", "เมื่อไร", "เท่าไร", "ไหร่", "กี่", "อย่างไร", "ยังไง", "หรือ", "หรอ", "เรอะ",
)  # fmt: skip
EDITED = "แก้ไขข้อความเมื่อ"
SPOILER = re.compile(r"\[Spoil\]\s*คลิกเพื่อดูข้อความที่ซ่อนไว้")
# ASCII alone: Thai goes on after an address without a space.
ADDRESS = re.compile(r"(?:https?://|www\.)[!-~]+", re.IGNORECASE)


@dataclass(frozen=True)
class Thread:
    """A thread's text and how many fields it counted when it was fetched: the newest copy has most."""

    title: str
    body: str
    copy: float


@dataclass(frozen=True, kw_only=True)
class Pantip(RankedSource):
    """Threads and comments, joined in memory.

    Args:
        path: a file, a folder of files with threads and comments, or the name of a hub dataset.
        split, subset: of the hub dataset.
        most_comments: so many comments of a thread are kept, those with most interactions.
        question_words: a title must hold one of them; an empty list takes every thread.
    """

    path: str
    split: str = "train"
    subset: str | None = None
    most_comments: int = 5
    question_words: list[str] | tuple[str, ...] = QUESTION_WORDS
    name: str = "pantip"
    language: str = "th"

    def files(self) -> list[Path]:
        """The local files behind `path`."""
        return data_files(self.path)

    def read_ranked(self) -> Iterator[RankedAnswers | Reject]:
        """Rejected rows first, then one prompt per thread in the order in which threads first appear."""
        threads: dict[str, Thread] = {}
        comments: dict[str, dict[str, ScoredAnswer]] = {}
        places: dict[str, tuple[str, int]] = {}
        for file, row in read_rows(self.path, split=self.split, subset=self.subset):
            reason = row.error or self._take(row, threads, comments)
            if reason:
                yield Reject(source=self.name, file=file, line=row.line, reason=reason, row=row.value)
            elif "comment" not in row.value:
                places.setdefault(_id(row.value, "content_id"), (file, row.line))
        for key, thread in threads.items():
            kept = sorted(comments.pop(key, {}).values(), key=lambda c: (-(c.score or 0.0), -len(c.answer)))[: self.most_comments]
            if kept:
                prompt = Message("user", f"{thread.title}\n{thread.body}".strip())
                yield self.ranked(((prompt,), tuple(kept)), key)
            else:
                file, line = places[key]
                yield Reject(source=self.name, file=file, line=line, reason="no comment on this thread", row=thread.title[:200])
        for key, lost in comments.items():
            reason = f"{len(lost)} comments on thread {str(key)[:40]}, which is not there or asks nothing"
            yield Reject(source=self.name, file=self.path, line=0, reason=reason, row=next(iter(lost.values())).answer[:200])

    def _take(self, row: Row, threads: dict[str, Thread], comments: dict[str, dict[str, ScoredAnswer]]) -> str | None:
        """Keep a row where it belongs, or say why it is not kept."""
        value = row.value
        if not isinstance(value, dict):
            return f"a row must be an object, this one is a {type(value).__name__}"
        key = _id(value, "content_id")
        if not key:
            return "column 'content_id' is missing, empty or not a number or text"
        return self._take_comment(key, value, comments) if "comment" in value else self._take_thread(key, value, threads)

    def _take_thread(self, key: str, value: dict[str, Any], threads: dict[str, Thread]) -> str | None:
        title, body = value.get("title"), value.get("content") or ""
        if not isinstance(title, str) or not isinstance(body, str) or not scrubbed(title):
            return "column 'title' is missing, empty or not text, or 'content' is not text"
        if self.question_words and not any(word in title for word in self.question_words):
            return "the title asks nothing: it holds none of the question words"
        thread = Thread(scrubbed(title), scrubbed(body), number_of(value.get("total_field")) or 0.0)
        # A thread fetched twice is one thread; of equal copies the first stays.
        if key not in threads or thread.copy > threads[key].copy:
            threads[key] = thread
        return None

    def _take_comment(self, key: str, value: dict[str, Any], comments: dict[str, dict[str, ScoredAnswer]]) -> str | None:
        text = value["comment"]
        if not isinstance(text, str) or not scrubbed(text):
            return "column 'comment' is empty or not text"
        if "-" in str(value.get("order_comment", "")):
            return "an answer to a comment, not to the thread"
        score = sum(number_of(value.get(counter) or 0) or 0.0 for counter in COUNTERS)
        answer = ScoredAnswer(scrubbed(text), score)
        mine = comments.setdefault(key, {})
        known = mine.get(name := _id(value, "comment_id") or answer.answer)
        # Counters only grow, so the newest copy of a comment has most interactions.
        if known is None or score > (known.score or 0.0):
            mine[name] = answer
        return None


def scrubbed(text: str) -> str:
    """Without what follows the edit marker and without the spoiler label; addresses as [URL]."""
    return ADDRESS.sub("[URL]", SPOILER.sub("", text.split(EDITED)[0])).strip()


def _id(value: dict[str, Any], column: str) -> str:
    found = value.get(column)
    number = number_of(found) if not isinstance(found, bool) else None
    # The same number as 3, 3.0 and "3": what became of it in tables with gaps.
    if number is not None and number.is_integer():
        return str(int(number))
    return found.strip() if isinstance(found, str) else ""
