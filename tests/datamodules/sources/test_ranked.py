"""What all sources of ranked answers share."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodules.sources import RankedSource
from datamodules.sources.ranked import draws, joined, number_of, on_one_line
from kinnari.text.conversation import Message, Reject
from kinnari.text.ranked import RankedAnswers, ScoredAnswer


@dataclass(frozen=True, kw_only=True)
class Two(RankedSource):
    name: str = "two"
    licence: str = "MIT"

    def files(self) -> list[Path]:
        return []

    def read_ranked(self) -> Iterator[RankedAnswers | Reject]:
        yield self.ranked(((Message("user", "Q"),), (ScoredAnswer("best", 3.0), ScoredAnswer("worse", 1.0))), 0, "th")
        yield Reject(source="two", file="f", line=7, reason="broken")
        yield self.ranked(((Message("user", "R"),), (ScoredAnswer("poor", 0.0),)), 2)
        yield self.ranked(((Message("user", "S"),), (ScoredAnswer("unscored", None),)), 3)


def test_fine_tuning_takes_the_best_answer_of_each_prompt():
    first, reject, second, third = Two(language="zh").read()

    assert first.messages == (Message("user", "Q"), Message("assistant", "best"))
    assert (first.record_id, first.source, first.language, first.licence) == ("two:0", "two", "th", "MIT")
    assert isinstance(reject, Reject) and reject.line == 7
    assert (second.reference(), second.language) == ("poor", "zh")
    assert third.reference() == "unscored"


def test_prompts_whose_best_answer_scores_too_little_are_rejected_for_fine_tuning_alone():
    source = Two(min_score=1)

    kept, _, poor, unscored = source.read()

    assert kept.reference() == "best" and unscored.reference() == "unscored"
    assert isinstance(poor, Reject) and poor.reason == "the best answer scores 0, less than min_score=1" and poor.file == "two:2"
    assert len([item for item in source.read_ranked() if isinstance(item, RankedAnswers)]) == 3


@pytest.mark.parametrize(
    ("value", "number"),
    [(3, 3.0), ("2.5", 2.5), (True, 1.0), ("", None), ("many", None), ("nan", None), (float("inf"), None), ([1], None), (None, None),
     (10**400, None), ("1e999", None)],
)  # fmt: skip
def test_numbers_are_read_from_text_too_and_must_be_finite(value, number):
    assert number_of(value) == number


def test_a_prompt_ends_with_its_separator_only_where_that_is_a_token():
    assert joined(("写一首诗", ""), "\n") == "写一首诗"
    assert joined(("写一首诗", ""), "<sep>") == "写一首诗<sep>"
    assert joined(("上联：甲", "下联："), "<sep>") == "上联：甲<sep>下联："


def test_line_ends_are_deleted():
    assert on_one_line(" 甲\r\n乙\n ") == "甲乙"


@given(st.integers(), st.text(st.characters(exclude_categories=())))
def test_the_draws_of_a_record_depend_on_seed_and_record_alone(seed, record):
    assert draws(seed, record).random() == draws(seed, record).random()
    assert draws(seed, record).random() != draws(seed + 1, record).random()
