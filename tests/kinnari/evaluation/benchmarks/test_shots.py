"""Shots: gold labels only, out of another file, within a number of tokens."""

from __future__ import annotations

import logging
from collections import Counter

import pytest

from kinnari.errors import ConfigError
from kinnari.evaluation.benchmarks.shots import Shots, chosen, fitting, solved, within
from kinnari.evaluation.question import Candidate, Question


def question(text: str, gold: int | None = 0, classes: tuple[str, ...] | None = ("x", "y")) -> Question:
    return Question(id=text, candidates=(Candidate(text, "x"), Candidate(text, "y")), gold=gold, labels=classes)


POOL = [question(f"{number:02}", number % 5 == 0) for number in range(40)]  # one in five is y
SHOTS = Shots(("aaaa", "bbbb", "cccc"), "\n", "intro\n")


def test_shots_hold_the_right_label_and_do_not_depend_on_the_file_order():
    examples = chosen(POOL, 6, seed=1)
    assert [solved(q) for q in examples] == [q.id + "xy"[q.gold] for q in examples]
    assert chosen(POOL[::-1], 6, seed=1) == examples != chosen(POOL, 6, seed=2)
    assert chosen(POOL, 8, seed=1)[:6] == examples
    assert chosen([question("a", None), question("b")], 5, seed=1) == [question("b")]


def test_balanced_shots_have_each_class_as_often_as_they_can():
    assert Counter(q.gold for q in chosen(POOL, 10, 1, balanced=True)) == {0: 5, 1: 5}
    assert Counter(q.gold for q in chosen(POOL, 20, 1, balanced=True)) == {0: 12, 1: 8}
    with pytest.raises(ConfigError, match="questions share their classes"):
        chosen([question("a", 0, None)], 1, 1, balanced=True)


def test_an_evaluated_question_is_no_shot():
    assert sorted(q.id for q in chosen(POOL[:3], 9, 1, evaluated=[question("01", None)])) == ["00", "02"]


def test_as_many_shots_as_the_tokens_allow(caplog):
    # intro\n is 6 characters, each shot with its line break 5.
    with caplog.at_level(logging.WARNING):
        assert within(SHOTS, 16, len, "tnews").header() == "intro\naaaa\nbbbb\n"
    assert "2 of 3 shots fit" in caplog.text
    assert within(SHOTS, 21, len, "tnews") == within(SHOTS, None, None, "tnews") == SHOTS
    with pytest.raises(ConfigError, match="the first shot of benchmark=tnews alone has 11 tokens"):
        within(SHOTS, 10, len, "tnews")
    with pytest.raises(ConfigError, match="needs a tokenizer"):
        within(SHOTS, 10, None, "tnews")


@pytest.mark.parametrize(("most", "header"), [(100, SHOTS.header()), (26, SHOTS.header(2)), (25, SHOTS.header(1)), (5, "intro\n")])
def test_a_long_question_gets_fewer_shots(most, header):
    # The longest candidate has 8 characters, 2 stay free: 26 - 10 = 16 leave room for two.
    asked = Question(id="q", candidates=(Candidate("1234567", "x"), Candidate("1", "x")), gold=0)
    assert fitting(asked, SHOTS, most, len) == header
