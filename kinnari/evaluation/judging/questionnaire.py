"""Questionnaires for people: blind A/B sheets in five languages, and their answers read back.

message_id  คำสั่ง       คำตอบของ A   คำตอบของ B   คำตอบไหนดีกว่ากัน        the sheet, one per annotator; WangChanGLM's layout
5d0c...     สวัสดีครับ    ...          ...          A ทำได้ดีกว่า

id          A          B          first                           the key: which system stood where; nobody who answers sees it
5d0c...     model_b    model_a    model_a
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kinnari.errors import ConfigError
from kinnari.evaluation.judging.readings import Verdict

KEY = ("id", "A", "B", "first")
_FORMULA = ("=", "+", "-", "@")  # what makes a spreadsheet compute a cell rather than show it


@dataclass(frozen=True)
class Layout:
    """Column names and labels of one language; the last five are columns of a summary over annotators."""

    id: str
    prompt: str
    answer_a: str
    answer_b: str
    choice: str
    a_better: str
    b_better: str
    tie: str
    count_a: str
    count_b: str
    count_tie: str
    total: str
    code: str

    @property
    def columns(self) -> tuple[str, ...]:
        """Of a sheet."""
        return (self.id, self.prompt, self.answer_a, self.answer_b, self.choice)

    @property
    def counts(self) -> tuple[str, ...]:
        """Columns that a summary has and a sheet has not: three counts, their sum, the code."""
        return (self.count_a, self.count_b, self.count_tie, self.total, self.code)

    def label(self, verdict: Verdict) -> str:
        """What stands for a verdict, A being the first."""
        return {"first": self.a_better, "second": self.b_better, "tie": self.tie}[verdict]


# Thai: the names of WangChanGLM's published files, so that they can be read and compared.
LAYOUTS = {
    "th": Layout("message_id", "คำสั่ง", "คำตอบของ A", "คำตอบของ B", "คำตอบไหนดีกว่ากัน", "A ทำได้ดีกว่า", "B ทำได้ดีกว่า", "ดี/แย่พอกัน",
                 "จำนวนที่ตอบคำตอบ A ดีกว่า", "จำนวนที่ตอบคำตอบ B ดีกว่า", "จำนวนที่ตอบ AกับB ดี/แย่พอกัน", "จำนวนคำตอบทั้งหมด",
                 "สรุปคำตอบ(1=Aดีกว่า, 2=Bดีกว่า, 3=A/Bพอกัน)"),
    "en": Layout("message_id", "Instruction", "Answer A", "Answer B", "Which answer is better?", "A is better", "B is better",
                 "Equally good or bad", "Votes for A", "Votes for B", "Votes for neither", "Votes in all",
                 "Majority (1=A, 2=B, 3=neither)"),
    "ko": Layout("message_id", "지시문", "답변 A", "답변 B", "어느 답변이 더 낫습니까?", "A가 더 낫다", "B가 더 낫다", "서로 비슷하다",
                 "A를 고른 수", "B를 고른 수", "비슷하다고 한 수", "전체 응답 수", "다수 의견(1=A, 2=B, 3=비슷함)"),
    "zh": Layout("message_id", "指令", "回答 A", "回答 B", "哪个回答更好？", "A 更好", "B 更好", "不相上下",
                 "选 A 的人数", "选 B 的人数", "选不相上下的人数", "总人数", "多数意见(1=A, 2=B, 3=不相上下)"),
    "ja": Layout("message_id", "指示", "回答A", "回答B", "どちらの回答が良いですか", "Aの方が良い", "Bの方が良い", "同じくらい",
                 "Aを選んだ数", "Bを選んだ数", "同じくらいを選んだ数", "回答数の合計", "多数意見(1=A, 2=B, 3=同じくらい)"),
}  # fmt: skip
_CODES: dict[str, Verdict] = {"1": "first", "2": "second", "3": "tie", "a": "first", "b": "second", "tie": "tie", "first": "first",
                              "second": "second"}  # fmt: skip
_WORDS: dict[str, Verdict] = _CODES | {
    layout.label(verdict).casefold(): verdict for layout in LAYOUTS.values() for verdict in _CODES.values()
}


@dataclass(frozen=True, kw_only=True)
class Item:
    """A question and two answers, by the id that names it everywhere."""

    id: str
    prompt: str
    first: str
    second: str


def sheet(items: Sequence[Item], names: tuple[str, str], layout: Layout, seed: int) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Rows to be answered, and rows of the key; each side stands first in half of them, drawn by seed.

    Args:
        names: of the two systems, for the key.

    Raises:
        ConfigError: an id that occurs twice: its answers could not be told apart.
    """
    once([item.id for item in items])
    swapped = [bool(i % 2) for i in range(len(items))]
    random.Random(seed).shuffle(swapped)
    rows, key = [], []
    for item, swap in zip(items, swapped, strict=True):
        answers, sides = ((item.second, item.first), names[::-1]) if swap else ((item.first, item.second), names)
        cells = (item.id, *(_as_text(text) for text in (item.prompt, *answers)), "")
        rows.append(dict(zip(layout.columns, cells, strict=True)))
        key.append(dict(zip(KEY, (item.id, *sides, names[0]), strict=True)))
    return rows, key


def once(ids: Iterable[str]) -> None:
    """Refuse ids that occur twice.

    Raises:
        ConfigError: with the first of them.
    """
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            raise ConfigError(f"The id {name!r} occurs twice, and rows are told apart by it. Name a column whose values differ.")
        seen.add(name)


def layout_of(row: Mapping[str, Any], file: str, *, summary: bool | None = None) -> Layout:
    """The layout a file's header is in; `summary` asks for counts (True) or for answers (False).

    Raises:
        ConfigError: it is in none.
    """
    for layout in LAYOUTS.values():
        needed = layout.counts[:3] if summary else (layout.choice,)
        if all(column in row for column in (layout.id, *needed)):
            return layout
    known = " or ".join(repr(layout.choice) for layout in LAYOUTS.values())
    raise ConfigError(
        f"{file} is no questionnaire: it must have a column message_id and one of {known}, and has {', '.join(map(repr, row))}."
    )


def is_summary(row: Mapping[str, Any]) -> bool:
    """Whether a file holds counts over annotators rather than one person's answers."""
    return any(all(column in row for column in layout.counts[:3]) for layout in LAYOUTS.values())


def read_label(cell: Any, where: str) -> Verdict | None:
    """A person's choice, as a label of any language, a letter, or the code 1, 2, 3; A is the first. None where the cell is empty.

    Raises:
        ConfigError: it is none of these.
    """
    word = "" if cell is None else str(cell).strip().casefold()
    if word and word not in _WORDS:
        raise ConfigError(
            f"{where}: {cell!r} is no choice. Write {LAYOUTS['en'].a_better!r}, {LAYOUTS['en'].b_better!r}, {LAYOUTS['en'].tie!r} (or "
            "these in the language of the sheet), A, B, tie, or 1, 2, 3; or leave the cell empty."
        )
    return _WORDS.get(word)


def _as_text(cell: str) -> str:
    """Answers may begin with a hyphen, and what a model wrote must not be computed by a spreadsheet."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell
