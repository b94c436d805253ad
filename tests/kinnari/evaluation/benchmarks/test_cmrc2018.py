"""CMRC2018 in both layouts."""

from __future__ import annotations

import json

import pytest

from kinnari.errors import ConfigError
from kinnari.evaluation.benchmarks import CMRC2018


def squad(*asked, context="文章"):
    return {"version": "v1.0", "data": [{"title": "t", "id": "D", "paragraphs": [{"id": "D", "context": context, "qas": list(asked)}]}]}


ANSWERS = [{"text": "他", "answer_start": 1}, {"text": "他", "answer_start": 9}, {"text": "", "answer_start": 0}]
QUESTION = {"id": "D_0", "question": "谁？", "answers": ANSWERS}


def test_both_layouts_are_the_same_questions(tmp_path, write):
    write("cmrc2018_dev.json", squad(QUESTION))
    contest = [{"context_id": "D", "context_text": "文章", "qas": [{"query_id": "D_0", "query_text": "谁？", "answers": ["他", "他", ""]}]}]
    write("contest.json", json.dumps(contest))
    (first,) = CMRC2018(name="cmrc2018", data_dir=str(tmp_path)).questions()
    (second,) = CMRC2018(name="cmrc2018", data_dir=str(tmp_path), file="contest.json").questions()
    assert first == second
    assert (first.id, first.answers, first.prompt) == ("D_0", ("他", ""), "阅读文章：文章\n问：谁？\n答：")


def test_questions_without_public_answers_have_none(tmp_path, write):
    write("cmrc2018/test.json", squad({"id": "a", "question": "q", "answers": []}, {"id": "b", "question": "r"}))
    questions = CMRC2018(name="cmrc2018", data_dir=str(tmp_path), split="test").questions()
    assert [question.answers for question in questions] == [(), ()]


def test_shots_are_solved_questions_of_the_training_file_that_leave_room_for_the_answer(tmp_path, write):
    write("cmrc2018_dev.json", squad(QUESTION))
    write(
        "cmrc2018_train.json", squad(*({"id": str(i), "question": f"问{i}", "answers": [{"text": f"答{i}"}]} for i in range(6)), QUESTION)
    )
    settings = {"name": "cmrc2018", "data_dir": str(tmp_path), "shots": 3}
    (question,) = CMRC2018(**settings).questions()
    shots = question.header.split("阅读文章：")[1:]
    assert len(shots) == 3 and "谁？" not in question.header
    assert all(shot.split("\n答：")[0][-1] == shot.split("\n答：答")[1][0] for shot in shots)
    assert question.prompt == question.header + question.question_text
    most = len(question.header) - 1 + len(question.question_text) + 2 + 100
    (shorter,) = CMRC2018(**settings).questions(len, most)
    assert question.header.startswith(shorter.header) and shorter.header.count("阅读文章") == 2
    with pytest.raises(ConfigError, match="has 6 answered questions beside the evaluated ones"):
        CMRC2018(**settings | {"shots": 7}).questions()


def test_the_most_frequent_answer_is_the_baseline(tmp_path, write):
    asked = [{"id": str(i), "question": str(i), "answers": [{"text": text}]} for i, text in enumerate(["是", "否", "是", "三"])]
    write("dev.json", squad(*asked))
    benchmark = CMRC2018(name="cmrc2018", data_dir=str(tmp_path))
    assert benchmark.majority(benchmark.questions()) == 0.5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"rows": []}, "must hold an object with a list `data`"),
        (squad({"id": "a", "answers": []}), "document 1, paragraphs 1, qas 1: has no column 'question'"),
        (squad({"id": "a", "question": "q", "answers": [3]}), "qas 1: answers must be a list of texts"),
        ([{"context_text": "c"}], "document 1: has no column 'qas'"),
        ({"data": [3]}, "document 1 must be a json object"),
    ],
)
def test_what_is_neither_layout_is_named(tmp_path, write, content, message):
    write("dev.json", json.dumps(content))
    with pytest.raises(ConfigError, match=message):
        CMRC2018(name="cmrc2018", data_dir=str(tmp_path)).questions()
