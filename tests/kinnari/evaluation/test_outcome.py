"""Rows and numbers of a benchmark, worked by hand."""

from __future__ import annotations

import math

import pytest

from kinnari.evaluation.benchmarks import OCNLI, MultipleChoice, ReadingQuestion
from kinnari.evaluation.outcome import choices, reading, shown_prompt, sure
from kinnari.evaluation.question import Candidate, Likelihood, Question


def likely(value: float) -> Likelihood:
    return Likelihood(
        sequence=value, sequence_tokens=1, label=value, label_tokens=1, continuation=value, continuation_tokens=1, unconditional=0.0
    )


def asked(number: int, gold: int | None, subject: str | None = None) -> Question:
    return Question(
        id=str(number), candidates=(Candidate("x", "a"), Candidate("x", "b")), gold=gold, labels=("entailment", "neutral"), subject=subject
    )


BENCHMARK = OCNLI(name="ocnli")
FIRST, SECOND, BOTH = [likely(-1), likely(-2)], [likely(-2), likely(-1)], [likely(-1), likely(-1)]


def test_three_of_four_with_standard_error_majority_and_ties():
    found = choices(BENCHMARK, [asked(i, gold) for i, gold in enumerate((0, 1, 0, 1))], [FIRST, SECOND, BOTH, FIRST])
    assert found.numbers["accuracy"] == 0.75 and found.numbers["n"] == 4 and found.numbers["ties"] == 1
    assert found.numbers["stderr"] == pytest.approx(math.sqrt(0.25 / 4))  # sample variance 3/4 * 1/4 * 4/3
    assert found.numbers["majority"] == 0.5
    assert found.numbers["ci_low"] <= 0.75 <= found.numbers["ci_high"]
    assert [(row["prediction"], row["gold"], row["tie"]) for row in found.rows] == [
        (0, 0, False),
        (1, 1, False),
        (0, 0, True),
        (0, 1, False),
    ]


def test_a_line_says_what_was_asked_scored_and_right():
    (row,) = choices(BENCHMARK, [asked(7, 1)], [SECOND]).rows
    assert row == {
        "benchmark": "ocnli", "id": "7", "subject": None, "prompt": "x", "candidates": ["xa", "xb"], "scores": [-2.0, -1.0],
        "scoring": "label", "prediction": 1, "tie": False, "gold": 1,
    }  # fmt: skip


def test_an_unlabelled_file_has_predictions_and_no_accuracy():
    found = choices(BENCHMARK, [asked(0, None), asked(1, None)], [FIRST, SECOND])
    assert [row["prediction"] for row in found.rows] == [0, 1]
    assert found.numbers["n"] == 2 and all(
        math.isnan(found.numbers[key]) for key in ("accuracy", "stderr", "ci_low", "ci_high", "majority")
    )


def test_one_question_has_no_standard_error():
    found = choices(BENCHMARK, [asked(0, 0)], [FIRST]).numbers
    assert found["accuracy"] == 1 and math.isnan(found["stderr"])


def test_domains_and_the_mean_over_subjects():
    class Domains(MultipleChoice):
        @property
        def domains(self):
            return {"law": "humanities", "art": "humanities", "physics": "science"}

    questions = [asked(i, 0, subject) for i, subject in enumerate(("law", "law", "art", "physics"))]
    numbers = choices(
        Domains(name="own", scoring="label", template="{label}", answer="answer", choices="choices"),
        questions,
        [FIRST, SECOND, FIRST, SECOND],
    ).numbers
    assert numbers["accuracy/humanities"] == pytest.approx(2 / 3) and numbers["accuracy/science"] == 0
    assert numbers["subject_mean"] == pytest.approx((0.5 + 1 + 0) / 3)


def test_calibration_changes_the_prediction_it_is_meant_to():
    leaning = [[likely(math.log(0.9)), likely(math.log(0.1))], [likely(math.log(0.6)), likely(math.log(0.4))]]
    questions = [asked(0, 0), asked(1, 1)]
    assert choices(BENCHMARK, questions, leaning).numbers["accuracy"] == 0.5
    calibrated = choices(BENCHMARK, questions, leaning, calibration="prior")
    assert calibrated.numbers["accuracy"] == 1 and calibrated.how["calibration"] == "prior"


def test_the_interval_covers_what_a_binomial_says_and_shrinks_with_more_questions():
    few, many = ([1.0, 0.0] * half for half in (20, 320))
    found = sure("accuracy", few, 0)
    # 2.5 and 97.5 % of Binomial(40, 0.5) are 14 and 26
    assert found["ci_low"] == pytest.approx(14 / 40, abs=0.026) and found["ci_high"] == pytest.approx(26 / 40, abs=0.026)
    wide, narrow = (one["ci_high"] - one["ci_low"] for one in (found, sure("accuracy", many, 0)))
    assert wide / narrow == pytest.approx(4, rel=0.15)
    assert sure("accuracy", few, 0) == found


def test_all_right_leaves_no_doubt_the_bootstrap_could_see():
    assert sure("accuracy", [1.0] * 5, 0) == {"accuracy": 1.0, "stderr": 0.0, "ci_low": 1.0, "ci_high": 1.0}


def test_where_the_label_stands_first_the_prompt_is_what_all_begin_with():
    one = Question(id="q", candidates=(Candidate("about ", "art", ": x"), Candidate("about ", "arms", ": x")), gold=0, header="H\n")
    assert shown_prompt(one) == "H\nabout "
    other = Question(id="q", candidates=(Candidate("the dog ", "ran"), Candidate("the doe ", "ran")), gold=0)
    assert shown_prompt(other) == "the do"


def test_reading_counts_exact_answers_the_best_over_references_and_leaves_unanswered_rows_out():
    questions = [
        ReadingQuestion(id=str(i), context="文", question="谁？", answers=answers)
        for i, answers in enumerate([("张三", "他"), ("李四",), ()])
    ]
    found = reading("cmrc2018", questions, ["他。", "李五", "王"], 0.5, lambda text: [ord(c) for c in text])
    assert found.numbers["exact_match"] == 0.5 and found.numbers["f1"] == pytest.approx((1 + 0.5) / 2)
    assert (found.numbers["n"], found.numbers["majority"]) == (3, 0.5)
    assert [row["exact_match"] for row in found.rows[:2]] == [1.0, 0.0] and "exact_match" not in found.rows[2]
    assert found.rows[2]["gold"] == [] and found.rows[0]["prediction"] == "他。"
