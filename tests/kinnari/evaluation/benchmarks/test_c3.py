"""C3: two to four choices, dialogues and texts."""

from __future__ import annotations

import json

import pytest

from kinnari.errors import ConfigError
from kinnari.evaluation.benchmarks import C3


def asked(question: str, choices: str, answer: str) -> dict[str, object]:
    return {"question": question, "choice": choices.split(), "answer": answer}


DIALOGUE = [
    [["男：去哪?", "女：回家。"], [asked("去哪?", "家 店 校 家", "家")], "47-1"],
    [["女：好。"], [asked("好吗?", "好 不好", "不好"), asked("谁?", "女 男 都", "女")], "47-2"],
]
TEXT = [[["一段文字。"], [{"question": "什么?", "choice": ["字", "画"], "answer": "字"}], "47-1"]]


@pytest.mark.parametrize("names", [("c3-d-dev.json", "c3-m-dev.json"), ("d-dev.json", "m-dev.json"), ("c3_d_dev.json", "c3_m_dev.json")])
def test_each_question_has_its_own_choices_and_both_parts_are_read(tmp_path, write, names):
    for name, content in zip(names, (DIALOGUE, TEXT), strict=True):
        write(name, json.dumps(content, ensure_ascii=False))
    questions = C3(name="c3", data_dir=str(tmp_path), scoring="sequence").questions()
    assert [(question.id, len(question.candidates)) for question in questions] == [
        ("47-1.1", 4), ("47-2.1", 2), ("47-2.2", 3), ("47-1.1 (2)", 2),
    ]  # fmt: skip
    assert questions[1].texts[questions[1].gold] == "问: 好吗?\n答:不好\n该答案来自对话: 女：好。"
    assert questions[0].texts[questions[0].gold] == "问: 去哪?\n答:家\n该答案来自对话: 男：去哪?女：回家。"


def test_a_named_file_is_read_alone(tmp_path, write):
    write("d-dev.json", json.dumps(DIALOGUE))
    write("m-dev.json", json.dumps(TEXT))
    assert len(C3(name="c3", data_dir=str(tmp_path), file="d-dev.json").questions()) == 3


def test_shots_come_from_the_training_files(tmp_path, write):
    write("d-dev.json", json.dumps(DIALOGUE))
    write("d-train.json", json.dumps([[["男：走。"], [{"question": "做什么?", "choice": ["走", "留"], "answer": "走"}], "1"]]))
    questions = C3(name="c3", data_dir=str(tmp_path), shots=1).questions()
    assert {question.header for question in questions} == {"男：走。\n问：做什么?\n答：走\n\n"}
    assert C3(name="c3", data_dir=str(tmp_path)).majority(questions) == pytest.approx((1 / 4 + 1 / 2 + 1 / 3) / 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([[["a"], [asked("q", "x y", "z")], "1"]], "item 1 question 1: the answer 'z' is none of the choices x, y"),
        ([*TEXT, [["a"], [asked("q", "x", "x")], "1"]], r"item 2 question 1: there are 1 choices"),
        ([[["a"], [{"choice": ["x", "y"], "answer": "x"}], "1"]], "item 1 question 1: has no column 'question'"),
        ([["a"]], r"item 1: the item must be \[\[lines\]"),
        ({"data": []}, "must hold a json list"),
    ],
)  # fmt: skip
def test_what_is_not_c3_is_named(tmp_path, write, content, message):
    write("d-dev.json", json.dumps(content))
    with pytest.raises(ConfigError, match=message):
        C3(name="c3", data_dir=str(tmp_path)).questions()
