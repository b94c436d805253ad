"""Two systems' answers with votes."""

import pytest

from datamodules.sources import AnswerVotes
from kinnari.text.pairs import pairs
from tests.datamodules.sources.read_ranked import answers, prompt, ranked, rejected
from tests.datamodules.sources.read_source import written

SUMMARY = "สรุปคำตอบ(1=Aดีกว่า, 2=Bดีกว่า, 3=A/Bพอกัน)"


def row(code, a="คำตอบเอ", b="คำตอบบี"):
    return {"message_id": "8a51", "คำสั่ง": "ทำยังไงดี", "คำตอบของ A": a, "คำตอบของ B": b, "จำนวนคำตอบทั้งหมด": "10", SUMMARY: code}


def votes(tmp_path, *rows):
    return AnswerVotes(path=written(tmp_path, rows, ".csv"))


@pytest.mark.parametrize(
    ("code", "scores", "count"),
    [
        ("1", [("คำตอบเอ", 1), ("คำตอบบี", 0)], 1),
        ("2", [("คำตอบบี", 1), ("คำตอบเอ", 0)], 1),
        ("3.0", [("คำตอบเอ", 0.5), ("คำตอบบี", 0.5)], 0),
    ],
)
def test_the_winner_is_chosen_and_a_tie_makes_no_pair(tmp_path, code, scores, count):
    (record,) = ranked(votes(tmp_path, row(code)))

    assert prompt(record) == "ทำยังไงดี" and answers(record) == scores
    assert len(pairs(record)) == count


@pytest.mark.parametrize("bad", [row("4"), row(""), row("1.5"), row("A"), row("1", a=" ")])
def test_rows_without_a_verdict_or_an_answer_are_rejected(tmp_path, bad):
    assert len(rejected(votes(tmp_path, bad))) == 1
