"""Votes, majorities and annotators of hand-made sheets."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinnari.errors import ConfigError
from kinnari.evaluation.judging.agreement import LABELS
from kinnari.evaluation.judging.crowd import (
    Answers,
    agreement_of,
    annotator_rows,
    majority,
    read_answers,
    read_key,
    read_votes,
    shares,
    summary_row,
    votes_of,
)
from kinnari.evaluation.judging.questionnaire import LAYOUTS, Item, sheet

EN, TH = LAYOUTS["en"], LAYOUTS["th"]
ITEMS = [Item(id=f"m{i}", prompt=f"q{i}", first=f"a{i}", second=f"b{i}") for i in range(6)]


@pytest.mark.parametrize(
    ("votes", "said"),
    [((4, 0, 6), "tie"), ((9, 1, 0), "first"), ((2, 1, 2), "first"), ((1, 2, 2), "second"), ((2, 2, 0), "tie"), ((1, 1, 1), "tie"),
     ((0, 3, 1), "second"), ((1, 0, 1), "first"), ((0, 0, 1), "tie")],
)  # fmt: skip
def test_the_majority_of_votes(votes, said):
    assert majority(*votes) == said


@given(st.lists(st.sampled_from(LABELS), min_size=6, max_size=6), st.integers(0, 9), st.sampled_from(list(LAYOUTS)))
def test_what_people_say_of_blind_sheets_comes_back_as_they_meant_it(meant, seed, language):
    layout = LAYOUTS[language]
    rows, keys = sheet(ITEMS, ("x", "y"), layout, seed)
    names, key = read_key(keys, "key")
    for row, side, verdict in zip(rows, keys, meant, strict=True):
        shown = verdict if verdict == "tie" or side["A"] == "x" else {"first": "second", "second": "first"}[verdict]
        row[layout.choice] = layout.label(shown)
    random.Random(seed).shuffle(rows)  # people sort
    found = read_answers("s", rows, key)
    assert names == ("x", "y") and found.labels == {item.id: verdict for item, verdict in zip(ITEMS, meant, strict=True)}


def test_the_first_system_is_first_however_the_names_sort():
    names, key = read_key(sheet(ITEMS, ("zeta", "alpha"), EN, 0)[1], "key")
    assert names == ("zeta", "alpha") and sum(key.values()) == 3


@pytest.mark.parametrize(
    ("rows", "says"),
    [([{"id": "1", "A": "x", "B": "y"}], "no key"), ([{"id": "1", "A": "x", "B": "x", "first": "x"}], "the same two"),
     ([{"id": "1", "A": "x", "B": "y", "first": "z"}], "one of them"),
     ([{"id": "1", "A": "x", "B": "y", "first": "x"}, {"id": "2", "A": "x", "B": "z", "first": "x"}], "x, y, z"),
     ([{"id": "1", "A": "x", "B": "y", "first": "x"}] * 2, "occurs twice")],
)  # fmt: skip
def test_what_is_no_key_is_refused(rows, says):
    with pytest.raises(ConfigError, match=says):
        read_key(rows, "key.csv")


def answered(**labels: str) -> list[dict[str, str]]:
    return [dict(zip(EN.columns, (item, "q", "a", "b", choice), strict=True)) for item, choice in labels.items()]


def test_an_answer_that_the_key_does_not_have_is_told():
    with pytest.raises(ConfigError, match="'m9', which is not in the key"):
        read_answers("s", answered(m9="A"), {"m1": False})


def test_empty_cells_are_no_answers_and_other_words_are_told():
    assert read_answers("s", answered(m1="A", m2="", m3="tie"), None).labels == {"m1": "first", "m3": "tie"}
    with pytest.raises(ConfigError, match="s, message_id m1: 'x'"):
        read_answers("s", answered(m1="x"), None)


PEOPLE = [Answers("one", {"m1": "first", "m2": "tie"}), Answers("two", {"m1": "first", "m2": "second"}), Answers("three", {"m1": "second"})]


def test_votes_are_counted_per_item():
    votes = votes_of(PEOPLE)
    assert votes.ids == ("m1", "m2") and votes.counts.tolist() == [[2, 1, 0], [0, 1, 1]]
    assert votes.majority() == {"m1": "first", "m2": "second"}
    assert shares([2, 1, 1]) == {"first": 0.5, "second": 0.25, "tie": 0.25} and shares([0, 0, 0])["tie"] is None


def test_each_annotator_is_compared_with_the_others():
    rows = annotator_rows(PEOPLE)
    assert [(row["annotator"], row["n"], row["first"], row["second"], row["tie"]) for row in rows] == [
        ("one", 2, 1, 0, 1), ("two", 2, 1, 1, 0), ("three", 1, 0, 1, 0)]  # fmt: skip
    # of m1 the two others say first and second: a tie
    assert [row["agreement_with_others"] for row in rows] == [0.0, 0.0, 0.0]


def test_pairs_of_annotators_are_listed_with_the_items_they_share():
    found = agreement_of(PEOPLE, votes_of(PEOPLE))
    assert [(pair["annotators"], pair["n"], pair["agreement"]) for pair in found["pairs"]] == [
        (["one", "two"], 2, 0.5), (["one", "three"], 1, 0.0), (["two", "three"], 1, 0.0)]  # fmt: skip
    assert found["fleiss_kappa"] is None and found["krippendorff_alpha"] == 0.0  # 4 disagreements of 16, of five labels


def test_one_annotator_agrees_with_nobody():
    found = agreement_of(PEOPLE[:1], votes_of(PEOPLE[:1]))
    assert found == {"fleiss_kappa": None, "krippendorff_alpha": None, "mean_cohen_kappa": None, "pairs": []}
    assert annotator_rows(PEOPLE[:1])[0]["agreement_with_others"] is None


def test_a_summary_row_is_read_back_as_votes():
    rows = [summary_row(TH, "m1", ("q", "a", "b"), [2, 1, 2]), summary_row(TH, "m2", ("q", "a", "b"), [2, 2, 0])]
    assert [(row[TH.choice], row[TH.total], row[TH.code]) for row in rows] == [("A ทำได้ดีกว่า", 5, 1), ("ดี/แย่พอกัน", 4, 3)]
    votes = read_votes("s", rows, None)
    assert votes.ids == ("m1", "m2") and votes.counts.tolist() == [[2, 1, 2], [2, 2, 0]]
    np.testing.assert_array_equal(read_votes("s", rows, {"m1": True, "m2": False}).counts, [[1, 2, 2], [2, 2, 0]])


def test_a_count_that_is_none_is_told():
    row = summary_row(TH, "m1", ("q", "a", "b"), [2, 1, 2]) | {TH.count_b: "two"}
    with pytest.raises(ConfigError, match="m1: '2', 'two', '2' are not"):
        read_votes("s", [row], None)
