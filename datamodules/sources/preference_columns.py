"""Tables of two texts, a better and a worse one, as PyThaiNLP/WangChanGLM's reward model reads them (pythainlp/php_reward):

    {"human_ref_1st": "<human>: ซื้อคอนโดดีไหม <bot>: ถ้ายังไม่ย้ายงาน ซื้อได้", "human_ref_2nd": "<human>: ซื้อคอนโดดีไหม <bot>: แล้วแต่"}

The question is a column of its own, or stands before the last `<bot>:` of both texts, or is missing: then the texts are compared alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datamodules.sources.columns import wrong_text_columns
from datamodules.sources.cued_text import Part, messages_from_cues
from datamodules.sources.ranked import RankedFileSource, Ranking
from kinnari.text.conversation import Message
from kinnari.text.ranked import ScoredAnswer

CUE = re.compile(r"<(human|context|bot)>:")
PARTS: Mapping[str, Part] = {"human": "user", "context": "context", "bot": "assistant"}


@dataclass(frozen=True, kw_only=True)
class PreferenceColumns(RankedFileSource):
    """Rows with a better and a worse text; scores are unknown.

    Args:
        better, worse: names of the columns.
        prompt: name of the question's column; None where there is none.
    """

    better: str = "human_ref_1st"
    worse: str = "human_ref_2nd"
    prompt: str | None = None
    name: str = "preference_columns"

    def rank(self, row: Any) -> Ranking | str:
        """The question, if any, and both texts."""
        columns = [self.better, self.worse, *([self.prompt] if self.prompt else [])]
        problem = wrong_text_columns(row, columns)
        if problem:
            return problem
        question, texts = row[self.prompt] if self.prompt else "", (row[self.better], row[self.worse])
        if "<bot>:" in question or (not question and all("<bot>:" in text for text in texts)):
            better, worse = (messages_from_cues(f"{question} {text}", CUE, PARTS) for text in texts)
            return two_endings(better, worse)
        prompt = (Message("user", question.strip()),) if question else ()
        better, worse = ((*prompt, Message("assistant", text.strip())) for text in texts)
        return two_endings(better, worse)


def two_endings(
    better: tuple[Message, ...] | str,
    worse: tuple[Message, ...] | str,
    score_better: float | None = None,
    score_worse: float | None = None,
) -> Ranking | str:
    """The common prompt of two dialogues that differ in the last answer alone, and the answers; or the reason why they do not."""
    for name, dialogue in (("better", better), ("worse", worse)):
        if isinstance(dialogue, str):
            return f"the {name} one: {dialogue}"
    assert not isinstance(better, str) and not isinstance(worse, str)
    if better[:-1] != worse[:-1]:
        return "the two dialogues differ before the last answer"
    if better[-1].content == worse[-1].content:
        return "the two answers are the same"
    return better[:-1], (ScoredAnswer(better[-1].content, score_better), ScoredAnswer(worse[-1].content, score_worse))
