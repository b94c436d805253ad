"""HuLiC: workers talk with people and with chat models, and rate every answer, one row per question and answer, the columns

    Turn,작업자,나이,성별,질문,답변,적절성,구체성,인간유사도,대화선호도
    1,A,30대,여,어떤 영화 좋아하세요?,저는 액션 영화를 좋아해요.,1,1,1,5

질문 is the question, 답변 the answer, 작업자 the worker; 적절성, 구체성 and 인간유사도 say 0 or 1 for apt, concrete and human-like. The
columns are those of the README of smilegate-ai/HuLiC; the files are xlsx sheets, to be saved as csv. Answers of the models (Blender 1
and 2) were translated by machine. No licence stated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from datamodules.sources.columns import cell, wrong_text_columns
from datamodules.sources.row_groups import Found, GroupedFileSource, Refused
from datamodules.sources.turns import as_dialogue
from kinnari.errors import ConfigError
from kinnari.text.conversation import Message

RATINGS = ("적절성", "구체성", "인간유사도")  # apt, concrete, human-like


@dataclass(frozen=True, kw_only=True)
class HuLiC(GroupedFileSource):
    """Dialogues of consecutive turns by one worker.

    Args:
        rated: train only answers that got 1 in each of these columns (적절성, 구체성, 인간유사도); the others stay as what was said before.
    """

    rated: tuple[str, ...] = ()
    name: str = "hulic"
    language: str = "ko"

    def __post_init__(self) -> None:
        """Check `rated`.

        Raises:
            ConfigError: if it names a column that is no rating of single answers.
        """
        unknown = [column for column in self.rated if column not in RATINGS]
        if unknown:
            raise ConfigError(f"data.{self.name}.rated={list(self.rated)}: {unknown} are no ratings; there are {', '.join(RATINGS)}.")

    def same_group(self, previous: Any, row: Any) -> bool:
        """The next turn of the same worker: a smaller or equal number begins a new dialogue."""
        if not isinstance(previous, dict) or not isinstance(row, dict) or cell(previous, "작업자") != cell(row, "작업자"):
            return False
        before, now = _number(previous.get("Turn")), _number(row.get("Turn"))
        return before is not None and now is not None and now > before

    def found(self, rows: list[Any]) -> Iterator[Found | Refused]:
        """The one dialogue of a group, up to the first row that is not a question with its answer."""
        messages: list[Message] = []
        for row in rows:
            problem = wrong_text_columns(row, ("질문", "답변"))
            if problem:
                yield Refused(problem, row)
                break
            # What is rated low is not trained; what is not is left to the template's rule.
            low = any(_number(value(row, column)) != 1 for column in self.rated)
            answer = Message("assistant", row["답변"].strip())
            messages += [Message("user", row["질문"].strip()), replace(answer, trained=False) if low else answer]
        if not messages:
            return
        if all(message.trained is False for message in messages if message.role == "assistant"):
            yield Refused("no answer has the ratings asked for", rows[0])
            return
        dialogue = as_dialogue(messages)
        yield Refused(dialogue, rows[0]) if isinstance(dialogue, str) else Found(dialogue)


def value(row: dict[str, Any], column: str) -> Any:
    """The cell of a column whose heading may be written with spaces (인간 유사도)."""
    return next((cell for name, cell in row.items() if isinstance(name, str) and name.replace(" ", "") == column), None)


def _number(cell: Any) -> float | None:
    try:
        return float(cell)
    except (TypeError, ValueError, OverflowError):
        return None
