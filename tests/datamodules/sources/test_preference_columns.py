"""A better and a worse text in two columns."""

import pytest

from datamodules.sources import PreferenceColumns
from kinnari.text.conversation import Message
from tests.datamodules.sources.read_ranked import answers, ranked, rejected
from tests.datamodules.sources.read_source import kept, written


def columns(tmp_path, *rows, suffix=".jsonl", **options):
    return PreferenceColumns(path=written(tmp_path, rows, suffix), **options)


def test_the_question_stands_before_the_answer_cue_of_both_texts(tmp_path):
    source = columns(
        tmp_path, {"human_ref_1st": "<context>: C\n<human>: ถาม\n<bot>: ดี", "human_ref_2nd": "<context>: C\n<human>: ถาม\n<bot>: แย่"}
    )

    (record,) = ranked(source)

    assert record.prompt == (Message("user", "ถาม", context="C"),)
    assert answers(record) == [("ดี", None), ("แย่", None)]
    assert [c.reference() for c in kept(list(source.read()))] == ["ดี"]


def test_the_question_can_be_a_column_with_or_without_cues(tmp_path):
    options = {"prompt": "question", "better": "good", "worse": "bad"}
    rows = [{"question": "ถาม", "good": "ดี", "bad": "แย่"}, {"question": "<human>: ถาม\n<bot>:", "good": " ดี", "bad": " แย่"}]
    for record in ranked(columns(tmp_path, *rows, suffix=".csv", **options)):
        assert record.prompt == (Message("user", "ถาม"),) and [t for t, _ in answers(record)] == ["ดี", "แย่"]


def test_texts_without_a_question_are_compared_alone(tmp_path):
    (record,) = ranked(columns(tmp_path, {"human_ref_1st": "ดี", "human_ref_2nd": "แย่"}))
    assert record.prompt == () and answers(record) == [("ดี", None), ("แย่", None)]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"human_ref_1st": "ดี"}, "'human_ref_2nd' is missing"),
        ({"human_ref_1st": "ดี", "human_ref_2nd": "ดี "}, "the two answers are the same"),
        ({"human_ref_1st": "<human>: ก <bot>: ดี", "human_ref_2nd": "<human>: ข <bot>: แย่"}, "differ before the last answer"),
        ({"human_ref_1st": "<human>: ก <bot>: ดี", "human_ref_2nd": "x <bot>: แย่"}, "the worse one: there is text before the first cue"),
        (7, "this one is a int"),
    ],
)
def test_rows_without_two_different_answers_to_one_question_are_rejected(tmp_path, row, reason):
    ((_, why),) = rejected(columns(tmp_path, row))
    assert reason in why
