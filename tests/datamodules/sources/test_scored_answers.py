"""Prompts with scored answers."""

import pytest

from datamodules.sources import ScoredAnswers
from kinnari.text.conversation import Message
from tests.datamodules.sources.read_ranked import answers, prompt, ranked, rejected
from tests.datamodules.sources.read_source import written

ROW = {"prompt": "上联：春风", "answers": [{"answer": "明月高", "score": -1}, {"answer": "秋雨", "score": 1}]}


def scored(tmp_path, *rows, **options):
    return ScoredAnswers(path=written(tmp_path, rows), **options)


def test_answers_are_brought_in_order_of_score(tmp_path):
    (record,) = ranked(scored(tmp_path, ROW, language="zh"))

    assert prompt(record) == "上联：春风"
    assert answers(record) == [("秋雨", 1), ("明月高", -1)]
    assert record.language == "zh"


def test_prefix_ends_the_prompt_and_system_begins_it(tmp_path):
    row = ROW | {"prefix": "下联：", "system": "你是诗人。", "data_type": "human_generated"}

    (record,) = ranked(scored(tmp_path, row))
    (pangu,) = ranked(scored(tmp_path, row, separator="<sep>"))

    assert record.prompt == (Message("system", "你是诗人。"), Message("user", "上联：春风\n下联："))
    assert pangu.prompt[1].content == "上联：春风<sep>下联："


def test_rows_of_another_data_type_are_rejected_unless_wanted(tmp_path):
    row = ROW | {"data_type": "machine_generated"}

    ((_, why),) = rejected(scored(tmp_path, row))

    assert why == "data_type 'machine_generated' is none of human_generated"
    assert len(ranked(scored(tmp_path, row, data_types=None))) == 1
    assert len(ranked(scored(tmp_path, row, data_types=["machine_generated"]))) == 1


def test_answers_may_all_lack_scores_and_blank_ones_are_left_out(tmp_path):
    row = {"prompt": "P", "answers": [{"answer": "b"}, {"answer": " ", "score": 3}, {"answer": "a", "score": None}]}
    (record,) = ranked(scored(tmp_path, row))
    assert answers(record) == [("b", None), ("a", None)]


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ([], "every answer is blank"),
        ("text", "must be a list"),
        (None, "must be a list"),
        ([{"answer": "a", "score": "high"}], "answer 1: 'score' is no finite number"),
        ([{"answer": "a", "score": float("nan")}], "answer 1: 'score' is no finite number"),
        ([{"answer": "a", "score": 1}, "b"], "answer 2 is no object"),
        ([{"answer": "a", "score": 1}, {"answer": 2, "score": 1}], "answer 2 is no object"),
        ([{"answer": "a", "score": 1}, {"answer": "b"}], "some answers have a score"),
    ],
)
def test_answers_of_another_kind_are_rejected(tmp_path, found, reason):
    ((_, why),) = rejected(scored(tmp_path, {"prompt": "P", "answers": found}))
    assert reason in why
