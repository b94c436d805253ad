"""The rules that replies are read by, and what they make of what models write."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinnari.evaluation.judging.readings import (
    UNREAD,
    Reading,
    first_digit_scores,
    first_line_scores,
    last_line_class,
    letter,
    read,
)


@pytest.mark.parametrize(
    ("reply", "scores"),
    [
        ("0.8 0.9\n\nAssistant 1 received 0.3", (0.8, 0.9)),
        ("0 0", (0, 0)),
        ("Output: 1.0 1.0\nfine", (1, 1)),
        ("Scores:\n\n0.9 0.7", (0.9, 0.7)),
        ("0.9, 0.7", (0.9, 0.7)),
        ("0.9, 0.7.\nFine", None),  # the same: the point that ends the sentence is kept
        ("0.5 0.75 0.9", (0.5, 0.75)),
        ("๐.๘ ๐.๙", (0.8, 0.9)),
        ("0.8/1 0.9/1", (0.81, 0.91)),  # the rule as published: strokes are dropped
        ("0.8\n0.9", None),
        ("0.8", None),
        ("0.8 0.9.1", None),
        ("neither", None),
        ("", None),
    ],
)
def test_scores_behind_the_first_digit(reply, scores):
    assert first_digit_scores(reply) == scores


@pytest.mark.parametrize(
    ("reply", "scores"),
    [("8 9\nThe first", (8, 9)), ("\n 8, 9 ", (8, 9)), ("8,9", (8, 9)), ("7.5 6", (7.5, 6)), ("8 9 7", None), ("Scores: 8 9", None),
     ("8", None), ("8/10 9/10", None), ("", None), ("nan 3", None), ("inf 3", None)],
)  # fmt: skip
def test_scores_on_the_first_line(reply, scores):
    assert first_line_scores(reply) == scores


@pytest.mark.parametrize(
    ("reply", "said"),
    [("Good reasons.\n2", "second"), ("1", "first"), ("3\n", "tie"), ("reasons\n 1 \n\n", "first"), ("4", None), ("so: 2", None),
     ("2.", None),
     ("2\nbecause", None), ("", None)],
)  # fmt: skip
def test_the_class_on_the_last_line(reply, said):
    assert last_line_class(reply) == said


@pytest.mark.parametrize(
    ("reply", "said"),
    [("A", "first"), ("B.", "second"), ("Tie", "tie"), ("**A**", "first"), ("Answer B", "second"), ("A or B", None), ("", None),
     ("a good question", None), ("C", None)],
)  # fmt: skip
def test_a_letter_names_one_answer_or_none(reply, said):
    assert letter(reply) == said


def by_the_letter_of_the_rule(reply: str) -> tuple[float, float] | None:
    """The first-digit rule, one character at a time."""
    begin = next((i for i, c in enumerate(reply) if re.fullmatch(r"\d", c)), len(reply))
    line = ""
    for character in reply[begin:]:
        if character == "\n":
            break
        line += character if re.fullmatch(r"[\d. ]", character) else ""
    words = [word for word in line.split(" ") if word][:2]
    try:
        first, second = [float(word) for word in words]
    except ValueError:
        return None
    return first, second


@given(st.text(alphabet="0123456789.,/ \nabก-", max_size=30))
def test_the_first_digit_rule_is_that_of_a_slow_reader(reply):
    assert first_digit_scores(reply) == by_the_letter_of_the_rule(reply)


@given(st.integers(0, 100), st.integers(0, 100), st.sampled_from(["first_digit_scores", "first_line_scores"]))
def test_scores_decide_and_exchanging_them_exchanges_the_verdict(a, b, style):
    found = read(f"{a / 100} {b / 100}\nbecause", style, (0, 1))
    assert found.scores == (a / 100, b / 100)
    assert found.verdict == ("first" if a > b else "second" if b > a else "tie")
    assert read(f"{b / 100} {a / 100}", style, (0, 1)) == found.swapped()
    assert found.swapped().swapped() == found


def test_scores_that_the_scale_does_not_have_are_not_read():
    assert read("8 9", "first_digit_scores", (0, 1)) == UNREAD
    assert read("8 9", "first_digit_scores").scores == (8, 9)
    assert read("A", "letter") == Reading("first", None)
