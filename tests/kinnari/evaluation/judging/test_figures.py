"""Shares, scores and ratios of hand-made verdicts."""

from __future__ import annotations

import pytest

from kinnari.evaluation.judging.figures import JudgedPair, by_language, figures, named
from kinnari.evaluation.judging.readings import UNREAD, Reading
from kinnari.evaluation.judging.verdicts import judgement


def scored(language, a, b, *, lengths=(10, 10), human=None):
    one = judgement([""], [Reading("first" if a > b else "second" if b > a else "tie", (a, b))])
    return JudgedPair(language=language, judgement=one, verdict=one.verdict, scores=one.scores, lengths=lengths, human=human)


def unread(language):
    one = judgement(["?", "?"], [UNREAD, UNREAD])
    return JudgedPair(language=language, judgement=one, verdict=None, scores=None, lengths=(1, 1))


PAIRS = [
    scored("th", 0.8, 0.9),
    scored("th", 0.5, 0.9),
    scored("th", 0.9, 0.7),
    scored("th", 0.5, 0.5),
    scored("ja", 0.2, 0.4),
    unread("ja"),
]


def test_shares_and_means_of_a_language():
    groups = by_language(PAIRS, seed=0)
    assert list(groups) == ["", "ja", "th"]
    th = groups["th"]
    assert (th["n"], th["win"], th["tie"], th["loss"], th["win_rate"]) == (4, 0.5, 0.25, 0.25, 0.625)
    assert (th["score_first"], th["score_second"]) == (pytest.approx(0.675), pytest.approx(0.75))
    assert th["ratio"] == pytest.approx(0.75 / 0.675)
    assert th["sign_test_p"] == 1.0  # two against one
    assert (groups["ja"]["n"], groups["ja"]["unread_rows"], groups["ja"]["unread_replies"]) == (1, 1, 2)
    assert groups[""]["win"] == pytest.approx(3 / 5)


def test_names_say_the_language():
    flat = named(by_language(PAIRS, seed=0))
    assert flat["judge/win"] == pytest.approx(0.6) and flat["judge/th/loss"] == 0.25 and flat["judge/ja/tie"] == 0.0


def test_intervals_hold_what_they_are_of_and_depend_on_the_seed_alone():
    found = figures(PAIRS, seed=1)
    for key in ("win", "tie", "loss", "win_rate", "score_first", "score_second", "ratio", "length_controlled_win_rate"):
        assert found[f"{key}_low"] <= found[key] <= found[f"{key}_high"], key
    assert found == figures(PAIRS, seed=1)


def test_ten_against_none_is_no_chance():
    assert figures([scored("", 0.0, 1.0)] * 10, seed=0)["sign_test_p"] == pytest.approx(2 / 1024)


def test_nothing_read_gives_no_numbers():
    found = figures([unread("th")], seed=0)
    assert (found["n"], found["unread_rows"], found["win"], found["win_rate_low"], found["sign_test_p"]) == (0, 1, None, None, None)
    assert found["length_controlled_win_rate"] is None and found["consistency"] is None


def test_a_mean_of_nought_has_no_ratio():
    assert figures([scored("", 0.0, 1.0)], seed=0)["ratio"] is None


def test_places_are_told():
    def both(a, b):
        one = judgement(["", ""], [Reading(a), Reading(b)])
        return JudgedPair(language="", judgement=one, verdict=one.verdict, scores=None, lengths=(1, 1))

    found = figures([both("first", "first"), both("first", "second"), both("first", "tie"), both("second", "second")], seed=0)
    assert (found["consistency"], found["position_bias"]) == (0.25, 0.5)
    assert found["first_place_share"] == pytest.approx(4 / 7)


def test_people_are_compared_where_they_said_something():
    pairs = [
        scored("", 0.0, 1.0, human="second"),
        scored("", 1.0, 0.0, human="second"),
        scored("", 1.0, 0.0, human="first"),
        scored("", 1.0, 0.0),
    ]
    found = figures(pairs, seed=0)
    assert (found["human_n"], found["human_agreement"]) == (3, pytest.approx(2 / 3))
    assert found["human_kappa"] == pytest.approx((2 / 3 - 4 / 9) / (5 / 9), abs=1e-5)
    assert "human_n" not in figures(PAIRS, seed=0)
