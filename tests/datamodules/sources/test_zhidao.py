"""Questions with all their replies."""

import pytest

from datamodules.sources import Zhidao
from tests.datamodules.sources.read_ranked import answers, prompt, ranked, rejected
from tests.datamodules.sources.read_source import kept, written

COLUMNS = ("title", "question", "reply", "is_best")


def zhidao(tmp_path, *rows, **options):
    return Zhidao(path=written(tmp_path, [dict(zip(COLUMNS, row, strict=True)) for row in rows], ".csv"), **options)


def test_the_replies_of_a_title_are_one_prompt_the_best_reply_first(tmp_path):
    source = zhidao(
        tmp_path,
        ("吃什么水果好", "天气很热", "都行", "0"),
        ("吃什么水果好", "天气很热", "西瓜\n解渴", "1"),
        ("吃什么水果好", "天气很热", "苹果", "0"),
        ("怎么学英语", "", "多读", "1"),
        ("几点了", "几点了", "三点", "1"),
    )

    fruit, english, time = ranked(source)

    # The cue of the answer is in every prompt; in system R only in that of the last row of a file.
    assert prompt(fruit) == "问题：吃什么水果好\n内容：天气很热\n回答："
    assert prompt(english) == "问题：怎么学英语\n回答："
    assert prompt(time) == "问题：几点了\n回答："
    assert answers(fruit) == [("西瓜解渴", 1), ("都行", 0), ("苹果", 0)]
    assert [r.record_id for r in (fruit, english, time)] == ["zhidao:0", "zhidao:3", "zhidao:4"]
    assert [r.reference() for r in kept(list(source.read()))] == ["西瓜解渴", "多读", "三点"]


def test_system_rs_separator_is_an_option(tmp_path):
    (record,) = ranked(zhidao(tmp_path, ("甲", "乙", "丙", "1"), separator="<sep>"))
    assert prompt(record) == "问题：甲<sep>内容：乙<sep>回答："


def test_a_content_that_only_a_later_row_has_is_used(tmp_path):
    (record,) = ranked(zhidao(tmp_path, ("甲", "", "丙", "0"), ("甲", "乙", "丁", "0.0")))
    assert prompt(record) == "问题：甲\n内容：乙\n回答：" and answers(record) == [("丙", 0), ("丁", 0)]


def test_a_bad_row_is_rejected_and_its_question_goes_on(tmp_path):
    source = zhidao(
        tmp_path, ("甲", "", "一", "0"), ("甲", "", "", "1"), ("", "", "x", "1"), ("甲", "", "y", "maybe"), ("甲", "", "二", "1")
    )

    assert [line for line, _ in rejected(source)] == [3, 4, 5]
    assert "is_best" in rejected(source)[2][1]
    (record,) = kept(list(source.read()))
    assert record.reference() == "二"


@pytest.mark.parametrize("missing", COLUMNS[2:])
def test_a_table_without_a_column_rejects_its_rows(tmp_path, missing):
    row = dict(zip(COLUMNS, ("甲", "乙", "丙", "1"), strict=True))
    del row[missing]
    ((_, reason),) = rejected(Zhidao(path=written(tmp_path, [row], ".csv")))
    assert missing in reason
