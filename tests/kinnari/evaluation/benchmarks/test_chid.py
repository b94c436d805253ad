"""CHID in both layouts."""

from __future__ import annotations

import pytest

from kinnari.errors import ConfigError
from kinnari.evaluation.benchmarks import CHID

TEN = [f"成语{number}" for number in range(10)]
CLUE = [{"candidates": TEN, "content": ["前#idiom000001#中#idiom000002#后", "无空", "只有#idiom000003#，又#idiom000003#"]}]
ANSWERS = {"#idiom000001#": 3, "#idiom000002#": 0, "#idiom000003#": 9}
FEW = [{"id": 1500, "candidates": TEN[:7], "content": "有时#idiom#却", "answer": 2}]


@pytest.fixture
def folder(tmp_path, write) -> str:
    write("chid/dev.json", CLUE)
    write("chid/dev_answer.json", ANSWERS)
    return str(tmp_path)


def test_every_blank_is_a_question_and_the_other_blanks_stay(folder):
    questions = {question.id: question for question in CHID(name="chid", data_dir=folder).questions()}
    assert sorted(questions) == ["idiom000001", "idiom000002", "idiom000003"]
    right = {name: question.texts[question.gold] for name, question in questions.items()}
    assert right == {
        "idiom000001": "前成语3中#idiom000002#后",
        "idiom000002": "前#idiom000001#中成语0后",
        "idiom000003": "只有成语9，又成语9",
    }
    assert {len(question.candidates) for question in questions.values()} == {10}


def test_the_idiom_may_stand_behind_the_text(folder):
    question = next(q for q in CHID(name="chid", data_dir=folder, scoring="pmi").questions() if q.id == "idiom000003")
    assert question.texts[question.gold] == "只有____，又____\n空白处____应填入的成语是：成语9"


def test_fewclue_has_seven_candidates_and_its_answer_in_the_row(tmp_path, write):
    write("chid_dev_few_all.jsonl", FEW)
    (question,) = CHID(name="chid", data_dir=str(tmp_path)).questions()
    assert (question.id, len(question.candidates), question.texts[question.gold]) == ("1500", 7, "有时成语2却")


def test_a_missing_answer_file_and_a_missing_answer_are_named(folder, write):
    benchmark = CHID(name="chid", data_dir=folder)
    write("chid/dev_answer.json", {"#idiom000001#": 3})
    with pytest.raises(ConfigError, match=r"dev\.json line 1: the blank #idiom000002# has no answer in dev_answer\.json"):
        benchmark.questions()
    write("chid/dev_answer.json", ANSWERS | {"#idiom000002#": 10})
    with pytest.raises(ConfigError, match="answer 10 is no place among 10 candidates"):
        benchmark.questions()
    (benchmark.folder / "dev_answer.json").unlink()
    with pytest.raises(ConfigError, match=r"dev_answer\.json does not exist; CLUE keeps the answers to dev\.json there"):
        benchmark.questions()


def test_a_test_file_needs_no_answers(tmp_path, write):
    write("chid/test.json", CLUE)
    questions = CHID(name="chid", data_dir=str(tmp_path), split="test").questions()
    assert [question.gold for question in questions] == [None, None, None]


def test_a_blank_in_two_texts_and_a_row_without_blank_are_refused(folder, write):
    write("chid/dev.json", [*CLUE, CLUE[0] | {"content": ["再#idiom000001#"]}])
    with pytest.raises(ConfigError, match="#idiom000001# occurs in several texts"):
        CHID(name="chid", data_dir=folder).questions()
    write("chid/dev.json", [FEW[0] | {"content": "没有"}])
    with pytest.raises(ConfigError, match=r"line 1: content holds 0 blanks"):
        CHID(name="chid", data_dir=folder).questions()
