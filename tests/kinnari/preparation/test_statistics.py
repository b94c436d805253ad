"""Numbers of a preparation, worked by hand on a few records."""

from itertools import pairwise

import numpy as np
import pytest

from kinnari.preparation import statistics
from tests.kinnari.preparation.fakes import Fake, LastDigit, Without, encoding, run


@pytest.fixture(scope="module")
def prepared():
    """a: 12 rows, 2 rejected, 1 removed by its own step; b: 10 rows, 6 drawn, all too long. One per last digit is left of both."""
    a = Fake(name="a", count=12, bad=6, steps={"no_four": Without("4")})
    b = Fake(name="b", count=10, limit=6, answer="x" * 300)
    return run(a, b, steps={"digits": LastDigit()}, encoding=encoding(64, drop=True), fraction=0.25)


def test_every_row_of_a_source_is_accounted_for(prepared):
    found = statistics.sources(prepared)
    for source in found.values():
        removed = sum(sum(languages.values()) for languages in source["removed"].values())
        gone = source["rejected"] + removed + source["not_drawn"] + source["dropped"]
        assert source["rows_read"] == gone + source["train"] + source["held_out"]
    assert (found["a"]["rows_read"], found["a"]["rejected"], found["a"]["rejected_because"]) == (12, 2, {"broken": 2})
    # a: 1 2 3 5 7 8 9 10 11 are left; 11 ends like 1.
    assert found["a"]["removed"] == {"no_four": {"en": 1}, "digits": {"en": 1}}
    assert found["a"]["train"] + found["a"]["held_out"] == 8 and found["a"]["dropped"] == 0
    assert found["b"]["not_drawn"] == 4 and found["b"]["train"] == found["b"]["held_out"] == 0
    assert found["b"]["dropped_because"] == {"too_long": found["b"]["dropped"]}


def test_rejected_rows_by_step_in_the_order_of_the_steps(prepared):
    steps = statistics.rejected_by_step(prepared)
    assert list(steps) == ["read", "no_four", "digits", "tokenise"]
    assert steps["read"] == 2 and steps["no_four"] == 1 and len(prepared.rejects(dropped=True)) == sum(steps.values())
    assert len(list(prepared.rejects(dropped=True).lines())) == sum(steps.values())


def test_languages_have_their_tokens_characters_and_shares(prepared):
    found = statistics.languages(prepared)["en"]
    assert found["records"] == 8 and found["tokens"] == int(prepared.tokens.lengths.sum())
    characters = sum(len(m.content) for c in prepared.table_of(prepared.train) for m in c.messages)
    characters += sum(len(m.content) for c in prepared.table_of(prepared.held_out) for m in c.messages)
    assert found["tokens_per_character"] == pytest.approx(found["tokens"] / characters, abs=1e-3)
    assert found["share_cut"] == 0 and found["dropped"] == statistics.sources(prepared)["b"]["dropped"]
    assert statistics.by_source_and_language(prepared) == {"a": {"en": 8}}


def test_a_histogram_grows_by_half_doublings_and_loses_nobody():
    lengths = np.array([5, 6, 7, 8, 8, 100])
    bins = statistics.length_histogram(lengths)
    assert sum(count for *_, count in bins) == 6
    assert all(low < high for low, high, _ in bins) and all(a[1] == b[0] for a, b in pairwise(bins))
    assert bins[0][0] <= 5 < bins[0][1] and bins[-1][0] <= 100 < bins[-1][1]
    assert statistics.length_histogram(np.zeros(0)) == []
