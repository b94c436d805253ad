"""Answers of two systems with people's votes, the crowd-sourced table of PyThaiNLP/WangChanGLM (166 Thai prompts of OASST1):

    message_id,คำสั่ง,คำตอบของ A,คำตอบของ B,...,"สรุปคำตอบ(1=Aดีกว่า, 2=Bดีกว่า, 3=A/Bพอกัน)"
    8a51...,ลืมรหัสผ่านทำยังไงดี,หากคุณจำไม่ได้ ...,คุณสามารถติดต่อ ...,...,3

The winner of the summary column scores 1 and the other 0; a tie scores 0.5 each and makes no pair. In the table A wins 113 to 15, so
an evaluation that shows A and B on fixed sides must be compared with always answering A.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from datamodules.sources.columns import wrong_text_columns
from datamodules.sources.ranked import RankedFileSource, Ranking, number_of
from kinnari.text.conversation import Message
from kinnari.text.pairs import best_first
from kinnari.text.ranked import ScoredAnswer

SCORES = {1: (1.0, 0.0), 2: (0.0, 1.0), 3: (0.5, 0.5)}  # summary code -> scores of A and B


@dataclass(frozen=True, kw_only=True)
class AnswerVotes(RankedFileSource):
    """Rows with a prompt, two answers and a summary of votes.

    Args:
        prompt, answer_a, answer_b, summary: names of the columns; the summary column is the first one whose name begins so.
    """

    prompt: str = "คำสั่ง"
    answer_a: str = "คำตอบของ A"
    answer_b: str = "คำตอบของ B"
    summary: str = "สรุปคำตอบ"
    name: str = "answer_votes"
    language: str = "th"
    licence: str = "Apache-2.0"

    def rank(self, row: Any) -> Ranking | str:
        """Both answers, the better one first."""
        problem = wrong_text_columns(row, (self.prompt, self.answer_a, self.answer_b))
        if problem:
            return problem
        code = next((number_of(value) for column, value in row.items() if str(column).startswith(self.summary)), None)
        scores = SCORES.get(int(code)) if code is not None and code.is_integer() else None
        if scores is None:
            return f"column {self.summary!r} is none of 1 (A is better), 2 (B is better), 3 (a tie)"
        texts = (row[self.answer_a].strip(), row[self.answer_b].strip())
        answers = best_first(ScoredAnswer(text, score) for text, score in zip(texts, scores, strict=True))
        return (Message("user", row[self.prompt].strip()),), answers
