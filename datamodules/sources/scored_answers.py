"""Prompts with scored answers, the files of sunzeyeah/RLHF and the general form of every ranked source; json lines of

    {"prompt": "上联：春风", "answers": [{"answer": "秋雨", "score": 1}, {"answer": "明月高", "score": -1}], "prefix": "下联："}

`prefix` (goes to the end of the prompt), `system` and `data_type` may be missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from datamodules.sources.columns import wrong_text_columns
from datamodules.sources.ranked import RankedFileSource, Ranking, joined, number_of
from kinnari.text.conversation import Message
from kinnari.text.pairs import best_first
from kinnari.text.ranked import ScoredAnswer


@dataclass(frozen=True, kw_only=True)
class ScoredAnswers(RankedFileSource):
    """Prompts with answers in any order; they are sorted by score, equal ones staying in theirs.

    Args:
        data_types: rows whose `data_type` is another one are rejected; those without are taken. None takes all.
        separator: between prompt and prefix; system R's own models take "<sep>".
    """

    data_types: list[str] | tuple[str, ...] | None = ("human_generated",)
    separator: str = "\n"
    name: str = "scored_answers"

    def rank(self, row: Any) -> Ranking | str:
        """The answers of one prompt; blank ones are left out."""
        problem = wrong_text_columns(row, ("prompt",), ("prefix", "system", "data_type"))
        if problem:
            return problem
        kind = row.get("data_type")
        if kind and self.data_types is not None and kind not in self.data_types:
            return f"data_type {kind[:40]!r} is none of {', '.join(self.data_types)}"
        answers = scored(row.get("answers"))
        if isinstance(answers, str):
            return answers
        prefix, system = row.get("prefix"), row.get("system")
        question = joined((row["prompt"], prefix), self.separator) if prefix else row["prompt"]
        start = (Message("system", system),) if system else ()
        return (*start, Message("user", question)), best_first(answers)


def scored(answers: Any) -> list[ScoredAnswer] | str:
    """Answers with their scores, or the reason why they are none: either all have a score or none has."""
    if not isinstance(answers, list):
        return "column 'answers' must be a list of {answer, score}"
    found: list[ScoredAnswer] = []
    for number, item in enumerate(answers, start=1):
        text = item.get("answer") if isinstance(item, dict) else None
        if not isinstance(text, str):
            return f"answer {number} is no object with text in 'answer'"
        score = number_of(item.get("score"))
        if score is None and item.get("score") is not None:
            return f"answer {number}: 'score' is no finite number"
        if text.strip():
            found.append(ScoredAnswer(text, score))
    if not found:
        return "every answer is blank, or there is none"
    if len({answer.score is None for answer in found}) > 1:
        return "some answers have a score and some have none"
    return found
