"""Two models on the same questions, counted by hand."""

from __future__ import annotations

import pytest

from kinnari.evaluation.comparison import as_json, comparison, right, said


def row(name: str, prediction: int, gold: int | None = 0) -> dict[str, object]:
    return {"id": name, "prediction": prediction, "gold": gold, "candidates": ["It is red.", "It is green."]}


def test_mcnemar_looks_at_the_questions_where_one_alone_is_right():
    first = [row(f"q{i}", 0 if i < 2 else 1) for i in range(10)]  # right in 0, 1
    second = [row(f"q{i}", 0 if i in (1, 2, 3, 4, 5, 6, 7) else 1) for i in range(10)]
    found = comparison("own", ("a", first), ("b", second))
    assert found is not None
    assert (found.n, found.worse, found.better) == (10, ("q0",), ("q2", "q3", "q4", "q5", "q6", "q7"))
    assert found.difference.gain == pytest.approx(0.5)
    # 6 of 7 throws of a fair coin, or more uneven: 2 * (7 + 1) / 2**7
    assert found.difference.sign_p == pytest.approx(2 * 8 / 128)
    assert found.difference.gain_low < 0.5 < found.difference.gain_high
    told = as_json(found)
    assert told["mcnemar_p"] == found.difference.sign_p and told["better"] == list(found.better)


def test_questions_are_paired_by_id_and_those_that_one_alone_was_asked_are_left_out():
    found = comparison("own", ("a", [row("x", 0), row("y", 1)]), ("b", [row("z", 0), row("y", 0)]))
    assert found is not None and (found.n, found.better) == (1, ("y",))


def test_without_answers_or_common_questions_nothing_is_compared():
    assert comparison("own", ("a", [row("x", 0, None)]), ("b", [row("x", 0, None)])) is None
    assert comparison("own", ("a", [row("x", 0)]), ("b", [row("y", 0)])) is None


def test_what_is_read_is_right_where_it_matches():
    assert right({"exact_match": 1.0, "gold": ["a"], "prediction": "a"}) == 1
    assert right({"gold": [], "prediction": "a"}) is None


def test_a_prediction_is_shown_without_what_all_candidates_share():
    assert [said(row("x", 0), index) for index in (0, 1, None)] == ["red", "green", "-"]
    assert said({"candidates": ["ab", "a"]}, 0) == "b" and said({}, ["x", "y"]) == "x | y" and said({}, "text") == "text"
