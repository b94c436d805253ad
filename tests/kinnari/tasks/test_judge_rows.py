"""What is compared, out of files of several layouts."""

from __future__ import annotations

import logging

import pytest

from kinnari.errors import ConfigError
from kinnari.evaluation.judging.crowd import summary_row
from kinnari.evaluation.judging.questionnaire import LAYOUTS
from kinnari.tasks import build
from kinnari.tasks.compose import compose
from kinnari.tasks.judge_rows import compared_rows, with_humans
from kinnari.text.tables import write_table

ROWS = [
    {"lang": "th", "message_id": "m1", "prompt": "สวัสดี", "a": "หนึ่ง", "b": "สอง", "note": "1"},
    {"lang": "ja", "message_id": "m2", "prompt": "こんにちは", "a": "一", "b": "二", "note": "B"},
    {"lang": "ja", "message_id": "m3", "prompt": "さようなら", "a": "一", "b": "", "note": ""},
]


def node(tmp_path, rows=ROWS, name="answers.csv", **changes):
    write_table(tmp_path / name, rows)
    return build.plain(compose([]).judge) | {"input": str(tmp_path / name), "columns": ["a", "b"]} | changes


@pytest.mark.parametrize("name", ["answers.csv", "answers.tsv", "answers.jsonl"])
def test_rows_with_both_answers_are_compared_and_the_others_counted(tmp_path, name):
    rows, left_out = compared_rows(node(tmp_path, name=name), "judge")
    assert [(row.id, row.language, row.pair.first, row.pair.second) for row in rows] == [
        ("m1", "th", "หนึ่ง", "สอง"),
        ("m2", "ja", "一", "二"),
    ]
    assert left_out == 1 and rows[0].reply is None and rows[0].human is None


def test_without_columns_for_them_languages_are_told_and_rows_numbered(tmp_path):
    rows, _ = compared_rows(node(tmp_path, [{"prompt": "안녕하세요", "a": "1", "b": "2"}]), "judge")
    assert (rows[0].id, rows[0].language) == ("1", "ko")


def test_people_and_replies_stand_in_columns(tmp_path):
    rows, _ = compared_rows(node(tmp_path, human_column="note", replies_column="lang", limit=2), "judge")
    assert [(row.human, row.reply) for row in rows] == [("first", "th"), ("second", "ja")]


def test_category_and_reference(tmp_path):
    given = node(tmp_path, [{"prompt": "q", "a": "1", "b": "2", "category": "Math", "right": "2"}], reference_column="right")
    (row,), _ = compared_rows(given, "judge")
    assert (row.pair.category, row.pair.reference) == ("Math", "2")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"columns": None}, r"judge\.columns=None must name two"),
        ({"columns": ["a", "a"]}, "two different"),
        ({"input": None}, r"judge\.input is not set"),
        ({"columns": ["a", "c"]}, "no column 'c'"),
        ({"prompt_column": "question"}, "no column 'question'"),
        ({"human_column": "x"}, "no column 'x'"),
        ({"human_column": "a"}, "no choice"),
        ({"limit": 0}, r"judge\.limit=0"),
    ],
)
def test_mistakes_are_told(tmp_path, changes, says):
    with pytest.raises(ConfigError, match=says):
        compared_rows(node(tmp_path, **changes), "judge")


def test_an_id_that_occurs_twice_is_told(tmp_path):
    with pytest.raises(ConfigError, match="'ja' occurs twice"):
        compared_rows(node(tmp_path, [*ROWS[:2], ROWS[1] | {"message_id": "m4"}], id_column="lang"), "judge")


def test_a_file_without_a_single_pair_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="No row of"):
        compared_rows(node(tmp_path, ROWS[2:]), "judge")


TH = LAYOUTS["th"]


def votes(tmp_path, *rows):
    write_table(tmp_path / "majority.csv", [summary_row(TH, *row) for row in rows])
    return str(tmp_path / "majority.csv")


def test_votes_are_turned_to_the_order_of_the_columns(tmp_path):
    rows, _ = compared_rows(node(tmp_path), "judge")
    # m1 as the columns are, m2 the other way round: A, the winner, is the second column; as a spreadsheet saved it
    file = votes(tmp_path, ("m1", ("สวัสดี", "หนึ่ง", "สอง"), [3, 0, 0]), ("m2", ("こ", "'二 \r\n", "一"), [3, 0, 0]))
    assert with_humans(rows, file) == {"m1": "first", "m2": "second"}


def test_votes_on_other_answers_are_not_compared(tmp_path, caplog):
    rows, _ = compared_rows(node(tmp_path), "judge")
    file = votes(tmp_path, ("m1", ("q", "หนึ่ง", "สอง"), [0, 0, 1]), ("m2", ("q", "一", "三"), [1, 0, 0]))
    with caplog.at_level(logging.WARNING):
        assert with_humans(rows, file) == {"m1": "tie"}
    assert "1 of 2 rows with votes were shown other answers" in caplog.text
    with pytest.raises(ConfigError, match="says nothing of the answers"):
        with_humans(rows[1:], file)


def test_a_blind_sheet_is_no_votes(tmp_path):
    rows, _ = compared_rows(node(tmp_path), "judge")
    write_table(tmp_path / "sheet.csv", [dict.fromkeys(TH.columns, "1")])
    with pytest.raises(ConfigError, match="holds no votes"):
        with_humans(rows, str(tmp_path / "sheet.csv"))
