"""Answers to one prompt with scores, and the preference pairs made of them.

RankedAnswers(prompt=(Message("user", "上联：春风"),), answers=(ScoredAnswer("秋雨", 1.0), ScoredAnswer("明月", 0.0)), ...)
-> PreferencePair(chosen=Conversation(... 秋雨), rejected=Conversation(... 明月), score_chosen=1.0, score_rejected=0.0)
"""

from __future__ import annotations

from dataclasses import dataclass

from kinnari.text.conversation import Conversation, Message


@dataclass(frozen=True)
class ScoredAnswer:
    """An answer and how good it is; only the order of scores within one prompt means anything. None: not scored."""

    answer: str
    score: float | None


@dataclass(frozen=True, kw_only=True)
class RankedAnswers:
    """A prompt and its answers, best first; `record_id`, `source`, `language`, `licence` as in `Conversation`."""

    prompt: tuple[Message, ...]
    answers: tuple[ScoredAnswer, ...]
    record_id: str
    source: str
    language: str
    licence: str


@dataclass(frozen=True, kw_only=True)
class PreferencePair:
    """Two conversations that differ in the last answer only; scores are None where a source has an order but no numbers."""

    chosen: Conversation
    rejected: Conversation
    score_chosen: float | None
    score_rejected: float | None
