"""Encyclopaedia questions."""

import pytest

from datamodules.sources import Baike
from kinnari.text.pairs import pairs
from tests.datamodules.sources.read_ranked import answers, prompt, ranked, rejected
from tests.datamodules.sources.read_source import written


def baike(tmp_path, *rows, **options):
    return Baike(path=written(tmp_path, rows), **options)


@pytest.mark.parametrize(
    ("row", "question"),
    [
        ({"title": "鲸是鱼吗", "desc": "请解释一下鲸是不是鱼"}, "请解释一下鲸是不是鱼"),
        ({"title": "鲸是鱼吗", "desc": ""}, "鲸是鱼吗"),
        ({"title": "甲乙", "desc": "丙\r\n丁"}, "甲乙"),
        ({"title": None, "desc": "丙"}, "丙"),
        ({"desc": "丙"}, "丙"),
    ],
)
def test_the_longer_one_of_title_and_description_asks(tmp_path, row, question):
    (record,) = ranked(baike(tmp_path, row | {"answer": "不是，\n是哺乳动物"}))

    assert prompt(record) == f"{question}\n回答："
    assert answers(record) == [("不是，是哺乳动物", 1)]
    assert pairs(record) == []


def test_system_rs_separator_is_an_option(tmp_path):
    (record,) = ranked(baike(tmp_path, {"title": "甲", "answer": "乙"}, separator="<sep>"))
    assert prompt(record) == "甲<sep>回答："


@pytest.mark.parametrize(
    "row", [{"answer": "乙"}, {"title": " ", "desc": "\n", "answer": "乙"}, {"title": "甲"}, {"title": ["甲"], "answer": "乙"}]
)
def test_a_row_without_a_question_or_an_answer_is_rejected(tmp_path, row):
    assert len(rejected(baike(tmp_path, row))) == 1
