"""Two orders, one verdict."""

from __future__ import annotations

from itertools import product

import pytest

from kinnari.evaluation.judging.readings import UNREAD, Reading
from kinnari.evaluation.judging.verdicts import judgement

SAID = {"A": Reading("first"), "B": Reading("second"), "tie": Reading("tie"), "?": UNREAD}


def of(*said: str):
    return judgement(said, [SAID[word] for word in said])


@pytest.mark.parametrize(
    ("straight", "swapped", "verdict", "unread"),
    [("A", "B", "first", 0), ("B", "A", "second", 0), ("A", "A", "tie", 0), ("B", "B", "tie", 0), ("A", "tie", "tie", 0),
     ("tie", "A", "tie", 0),
     ("tie", "tie", "tie", 0), ("?", "B", "first", 1), ("B", "?", "second", 1), ("?", "?", "tie", 2)],
)  # fmt: skip
def test_a_win_is_one_in_both_orders(straight, swapped, verdict, unread):
    found = of(straight, swapped)
    assert (found.verdict, found.unread, found.is_read) == (verdict, unread, unread < 2)


def test_agreement_and_places():
    assert [of(*pair).agrees for pair in ("AB", "AA", ("tie", "tie"), ("A", "tie"), "?B", "A")] == [True, False, True, False, None, None]
    assert [of(*pair).prefers_a_place for pair in ("AB", "AA", "BB", ("A", "tie"), "?B")] == [False, True, True, False, None]
    assert [of(*pair).first_place_wins for pair in ("AB", "AA", "BB", ("A", "tie"), "?B", "A")] == [
        (1, 2),
        (2, 2),
        (0, 2),
        (1, 1),
        (0, 1),
        (1, 1),
    ]


def test_exchanging_the_answers_exchanges_the_verdict():
    other = {"first": "second", "second": "first", "tie": "tie"}
    for straight, swapped in product(SAID, repeat=2):
        assert of(swapped, straight).verdict == other[of(straight, swapped).verdict]


def test_scores_are_means_of_what_was_read():
    a, b = Reading("first", (8.0, 6.0)), Reading("second", (5.0, 9.0))
    assert judgement(["", ""], [a, b]).scores == (8.5, 5.5)
    assert judgement(["", ""], [UNREAD, b]).scores == (9.0, 5.0)
    assert judgement([""], [UNREAD]).scores is None
