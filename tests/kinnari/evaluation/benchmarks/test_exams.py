"""C-Eval and MMLU: letters, subjects, shots of the subject, what the site takes."""

from __future__ import annotations

import csv
import io
from collections import Counter

import pytest

from kinnari.errors import ConfigError
from kinnari.evaluation.benchmarks import MMLU, CEval
from kinnari.evaluation.benchmarks.exam_subjects import CEVAL_DOMAINS, CEVAL_NAMES, MMLU_DOMAINS

HEADER = ["id", "question", "A", "B", "C", "D", "answer"]


def table(*rows: list[str]) -> str:
    stream = io.StringIO()
    csv.writer(stream).writerows(rows)
    return stream.getvalue()


@pytest.fixture
def ceval(tmp_path, write) -> str:
    write(
        "ceval/val/law_val.csv",
        "\ufeff" + table(HEADER, ["0", "问,题", "甲", "乙", "丙", "丁", "C"], ["1", "又问", "1", "2", "3", "4", "A"]),
    )
    write("ceval/val/logic_val.csv", table(HEADER, ["0", "逻辑", "a", "b", "c", "d", "B"]))
    write("ceval/test/law_test.csv", table(HEADER[:-1], ["7", "考", "a", "b", "c", "d"]))
    for subject in ("law", "logic"):
        rows = [[str(i), f"{subject}例{i}", "a", "b", "c", "d", "ABCDA"[i], "因为"] for i in range(5)]
        write(f"ceval/dev/{subject}_dev.csv", table([*HEADER, "explanation"], *rows))
    return str(tmp_path)


def test_tables_of_subjects_are_whole():
    assert (len(CEVAL_NAMES), len(CEVAL_DOMAINS), len(MMLU_DOMAINS)) == (52, 52, 57)
    assert Counter(CEVAL_DOMAINS.values()) == {"STEM": 20, "Social Science": 10, "Humanities": 11, "Other": 11}
    assert Counter(MMLU_DOMAINS.values()) == {"STEM": 19, "Social Sciences": 12, "Humanities": 13, "Other": 13}
    assert CEVAL_NAMES["metrology_engineer"] == "注册计量师"


def test_a_question_lists_its_choices_and_the_letter_is_the_label(ceval):
    benchmark = CEval(name="ceval", data_dir=ceval)
    questions = {question.id: question for question in benchmark.questions()}
    assert list(questions) == ["law/0", "law/1", "logic/0"]
    question = questions["law/0"]
    intro = "以下是中国关于法学考试的单项选择题，请选出其中的正确答案。\n\n"
    assert question.texts[question.gold] == intro + "问,题\nA. 甲\nB. 乙\nC. 丙\nD. 丁\n答案：C"
    assert sorted(question.labels) == ["A", "B", "C", "D"] and question.premise == "答案："
    assert {benchmark.domains[str(q.subject)] for q in questions.values()} == {"Humanities"}
    assert benchmark.majority(list(questions.values())) == pytest.approx(1 / 3)


def test_published_names_the_subject_with_shots_alone(ceval):
    bare = CEval(name="ceval", data_dir=ceval, prompt="published").questions()[0]
    assert bare.header == ""
    shown = CEval(name="ceval", data_dir=ceval, prompt="published", shots=2).questions()[0]
    listed = "\nA. a\nB. b\nC. c\nD. d\n答案："
    intro = "以下是中国关于法学考试的单项选择题，请选出其中的正确答案。\n\n"
    assert shown.header == f"{intro}law例0{listed}A\n\nlaw例1{listed}B\n\n"


def test_shots_are_of_the_subject_the_first_or_drawn_ones_and_the_last_give_way(ceval):
    headers = {q.subject: q.header for q in CEval(name="ceval", data_dir=ceval, shots=5).questions()}
    assert "logic例" not in headers["law"] and headers["logic"].count("logic例") == 5
    drawn = CEval(name="ceval", data_dir=ceval, shots=3, draw_shots=True).questions()[0].header
    assert drawn.count("law例") == 3 and drawn != "".join(headers["law"].partition("law例3")[0])
    balanced = CEval(name="ceval", data_dir=ceval, shots=4, shots_balanced=True).questions()[0].header
    assert sorted(balanced.split("答案：")[n][0] for n in range(1, 5)) == ["A", "B", "C", "D"]
    question = CEval(name="ceval", data_dir=ceval, shots=5).questions(len, len(headers["law"]) + 20)[0]
    assert headers["law"].startswith(question.header) and question.header.count("law例") == 4
    with pytest.raises(ConfigError, match=r"law_dev\.csv has 5 labelled questions beside the evaluated ones"):
        CEval(name="ceval", data_dir=ceval, shots=6).questions()


def test_a_missing_file_of_shots_and_of_a_subject_are_named(ceval, tmp_path):
    (tmp_path / "ceval/dev/logic_dev.csv").unlink()
    with pytest.raises(ConfigError, match=r"benchmark\.shots=1 of benchmark=ceval: .*dev/logic_dev\.csv does not exist"):
        CEval(name="ceval", data_dir=ceval, shots=1).questions()
    assert len(CEval(name="ceval", data_dir=ceval, shots=1, subjects=["law"]).questions()) == 2
    with pytest.raises(ConfigError, match=r"val/physician_val\.csv does not exist"):
        CEval(name="ceval", data_dir=ceval, subjects=["law", "physician"]).questions()


def test_the_submission_has_a_letter_per_id(ceval):
    benchmark = CEval(name="ceval", data_dir=ceval, split="test")
    questions = benchmark.questions()
    assert [question.gold for question in questions] == [None]
    assert benchmark.submission(questions, [questions[0].labels.index("D")]) == {"law": {"7": "D"}}


@pytest.mark.parametrize("header", [[], [["question", "A", "B", "C", "D", "answer"]]])
def test_mmlu_files_may_have_a_header(tmp_path, write, header):
    rows = [["Which, of?", "w", "x", "y", "z", "D"], ["Two", "1", "2", "3", "4", "A"]]
    write("data/test/us_foreign_policy_test.csv", table(*header, *rows))
    write("data/dev/us_foreign_policy_dev.csv", table(*header, ["Shot", "w", "x", "y", "z", "B"]))
    questions = MMLU(name="mmlu", data_dir=str(tmp_path), shots=1).questions()
    intro = "The following are multiple choice questions (with answers) about us foreign policy.\n\n"
    shot = "Shot\nA. w\nB. x\nC. y\nD. z\nAnswer: B\n\n"
    assert questions[0].texts[questions[0].gold] == intro + shot + "Which, of?\nA. w\nB. x\nC. y\nD. z\nAnswer: D"
    published = MMLU(name="mmlu", data_dir=str(tmp_path), shots=1, prompt="published").questions()[1]
    assert published.texts[published.gold].endswith("D. 4\nAnswer：A") and "about US Foreign Policy." in published.header


def test_a_file_without_header_keeps_its_first_question(tmp_path, write):
    write("test/law_test.csv", table(["q0", "1", "2", "3", "4", "A"], ["q1", "1", "2", "3", "4", "B"]))
    assert [q.id for q in MMLU(name="mmlu", data_dir=str(tmp_path)).questions()] == ["law/0", "law/1"]


def test_rows_with_whole_prompts_are_taken_as_they_are(tmp_path, write):
    row = {"subject": "virology", "input": "The following ... about  virology.\n\nWhich?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer:", "output": "B"}
    write("mmlu/zero_shot_mmlu_val.json", [row])
    benchmark = MMLU(name="mmlu", data_dir=str(tmp_path), split="val")
    (question,) = benchmark.questions()
    assert question.texts[question.gold] == row["input"] + " B" and benchmark.domains[question.subject] == "Other"
    with pytest.raises(ConfigError, match=r"the prompts of .*zero_shot_mmlu_val\.json are whole"):
        MMLU(name="mmlu", data_dir=str(tmp_path), split="val", shots=1).questions()


def test_an_answer_that_is_no_letter_is_named(tmp_path, write):
    write("val/law_val.csv", table(HEADER, ["0", "q", "a", "b", "c", "d", "E"]))
    with pytest.raises(ConfigError, match=r"law_val\.csv line 2: answer 'E' is none of A, B, C, D"):
        CEval(name="ceval", data_dir=str(tmp_path)).questions()
    write("test/law_test.csv", table(["q", "a", "b", "c", "d", "A"], ["q", "a", "b"]))
    with pytest.raises(ConfigError, match=r"law_test\.csv row 2: 3 cells"):
        MMLU(name="mmlu", data_dir=str(tmp_path)).questions()
