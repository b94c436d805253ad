"""HuLiC."""

import pytest

from datamodules.sources import HuLiC
from kinnari.errors import ConfigError
from tests.datamodules.sources.read_source import kept, read, reasons, talk


def row(turn, question, answer, worker="A", fit=1, concrete=1, human=1):
    cells = {"Turn": turn, "작업자": worker, "나이": "30대", "성별": "여", "질문": question, "답변": answer}
    return cells | {"적절성": fit, "구체성": concrete, "인간 유사도": human, "대화선호도": ""}


def test_rows_are_the_turns_of_one_dialogue_until_their_number_starts_again(tmp_path):
    records = read(tmp_path, HuLiC, row(1, "가?", "가."), row(2, "나?", "나."), row(1, "다?", "다."), row(1, "라?", "라."), suffix=".csv")

    assert [r.messages for r in records] == [talk("가?", "가.", "나?", "나."), talk("다?", "다."), talk("라?", "라.")]
    assert (records[0].language, records[0].licence) == ("ko", "unknown")


def test_another_worker_begins_another_dialogue(tmp_path):
    records = read(tmp_path, HuLiC, row(1, "가?", "가."), row(2, "나?", "나.", worker="B"))

    assert [len(r.messages) for r in records] == [2, 2]


def test_answers_rated_low_can_be_left_untrained_yet_remembered(tmp_path):
    rows = row(1, "가?", "가.", fit="1"), row(2, "나?", "나.", human="0"), row(3, "다?", "다.", human="1.0")
    (one,) = read(tmp_path, HuLiC, *rows, rated=("적절성", "인간유사도"))

    assert [m.trained for m in one.messages] == [None, None, None, False, None, None]
    assert reasons(read(tmp_path, HuLiC, rows[1], rated=("인간유사도",))) == ["no answer has the ratings asked for"]


def test_a_dialogue_ends_before_a_row_without_question_or_answer(tmp_path):
    records = read(tmp_path, HuLiC, row(1, "가?", "가."), row(2, "나?", ""), row(3, "다?", "다."), row("?", "라?", "라."))

    assert [r.messages for r in kept(records)] == [talk("가?", "가."), talk("라?", "라.")]
    assert "'답변' is missing, empty or not text" in reasons(records)[0]


def test_a_rating_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(ConfigError, match=r"\['재미'\] are no ratings; there are 적절성, 구체성, 인간유사도"):
        HuLiC(path="x.csv", rated=("적절성", "재미"))
