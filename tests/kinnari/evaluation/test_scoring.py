"""Likelihoods, scores, predictions: worked by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinnari.errors import ConfigError
from kinnari.evaluation.question import Candidate, Likelihood, Question
from kinnari.evaluation.scoring import WANTED, prediction, score, without_prior

FOUND = Likelihood(
    sequence=-12.0, sequence_tokens=6, label=-4.0, label_tokens=2, continuation=-6.0, continuation_tokens=3, unconditional=-5.0, legacy=-2.5
)


def question(*labels: str) -> Question:
    return Question(id="q", candidates=tuple(Candidate("", label) for label in labels), gold=0, labels=labels)


@pytest.mark.parametrize(
    ("scoring", "value"),
    [("label", -4.0), ("sequence", -12.0), ("length_normalised", -2.0), ("pmi", -1.0), ("legacy", -2.5)],
)
def test_each_way_of_scoring_by_hand(scoring, value):
    assert score(FOUND, scoring) == value


@pytest.mark.parametrize("scoring", WANTED)
def test_a_score_is_made_of_what_was_asked_for_and_of_nothing_else(scoring):
    missing = dict.fromkeys(("sequence", "label", "continuation", "unconditional", "legacy"))
    asked = {name: getattr(FOUND, name) for name in WANTED[scoring]}
    counts = {"sequence_tokens": 6, "label_tokens": 2, "continuation_tokens": 3}
    assert score(Likelihood(**missing | asked, **counts), scoring) == score(FOUND, scoring)
    with pytest.raises(AssertionError, match=scoring):
        score(Likelihood(**missing, **counts), scoring)


def test_equal_scores_are_counted_and_the_first_of_them_is_chosen():
    assert prediction([-3.0, -1.0, -1.0]) == (1, True)
    assert prediction([-3.0, -3.0, -1.0]) == (2, False)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_refused(bad):
    with pytest.raises(ConfigError, match="no finite numbers"):
        prediction([-1.0, bad])


def test_the_prior_is_the_mean_probability_of_a_class_and_is_divided_out():
    # probabilities 0.9 / 0.1 and 0.6 / 0.4: priors 0.75 and 0.25
    scores = [[math.log(0.9), math.log(0.1)], [math.log(0.6), math.log(0.4)]]
    left = without_prior(scores, [question("a", "b")] * 2)
    assert [[math.exp(value) for value in row] for row in left] == [pytest.approx([1.2, 0.4]), pytest.approx([0.8, 1.6])]
    assert [prediction(row)[0] for row in left] == [0, 1]  # without calibration both are the first


def test_a_prior_belongs_to_the_class_wherever_it_stands():
    scores = [[math.log(0.9), math.log(0.1)], [math.log(0.4), math.log(0.6)]]
    left = without_prior(scores, [question("a", "b"), question("b", "a")])
    assert [[math.exp(value) for value in row] for row in left] == [pytest.approx([1.2, 0.4]), pytest.approx([1.6, 0.8])]


def test_sampled_classes_have_their_prior_over_the_questions_that_show_them():
    left = without_prior([[0.0, 0.0], [0.0, 0.0]], [question("a", "b"), question("a", "c")])
    assert [math.exp(value) for row in left for value in row] == pytest.approx([2, 2, 2, 2])


def test_choices_without_common_classes_have_no_prior():
    own = Question(id="q", candidates=(Candidate("", "a"), Candidate("", "b")), gold=0)
    with pytest.raises(ConfigError, match="calibration=none"):
        without_prior([[0.0, 1.0]], [own])


@given(
    st.lists(st.lists(st.floats(-50, 0), min_size=3, max_size=3), min_size=1, max_size=8),
    st.lists(st.floats(-9, 9), min_size=3, max_size=3),
)
def test_calibration_forgets_what_is_added_to_a_class_where_all_questions_are_alike(rows, liking):
    """A model that likes a class by a factor, on one question asked again and again, loses all of it."""
    same = [rows[0]] * len(rows)
    liked = [[value + more for value, more in zip(row, liking, strict=True)] for row in same]
    asked = [question("a", "b", "c")] * len(rows)
    for plain, biased in zip(without_prior(same, asked), without_prior(liked, asked), strict=True):
        offsets = [a - b for a, b in zip(plain, biased, strict=True)]
        assert offsets == pytest.approx([offsets[0]] * 3, abs=1e-6)
