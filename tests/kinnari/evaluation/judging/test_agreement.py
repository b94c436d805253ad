"""Agreement against examples worked by hand and against slow definitions."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinnari.evaluation.judging.agreement import LABELS, agreement, fleiss, krippendorff


def test_cohens_kappa_of_a_table_worked_by_hand():
    # 20 both first, 15 both second; 5 and 10 apart: p_o = 0.7, p_e = 0.5 * 0.6 + 0.5 * 0.4 = 0.5
    one = ["first"] * 25 + ["second"] * 25
    other = ["first"] * 20 + ["second"] * 5 + ["first"] * 10 + ["second"] * 15
    found = agreement(one, other)
    assert (found.n, found.raw, found.kappa) == (50, pytest.approx(0.7), pytest.approx(0.4, abs=1e-6))
    assert found.table == [[20, 5, 0], [10, 15, 0], [0, 0, 0]]


@given(st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1, max_size=30))
def test_kappa_is_its_definition(pairs):
    one, other = zip(*pairs, strict=True)
    n = len(pairs)
    observed = sum(a == b for a, b in pairs) / n
    expected = sum(one.count(label) * other.count(label) for label in LABELS) / n**2
    found = agreement(one, other)
    assert found.raw == pytest.approx(observed, abs=1e-6)
    if expected == 1:
        assert found.kappa is None
    else:
        assert found.kappa == pytest.approx((observed - expected) / (1 - expected), abs=1e-4)


def test_nothing_agrees_on_nothing():
    assert agreement([], []) is None


def test_fleiss_of_hand_worked_counts():
    # three raters, p_i = 1, 1/3; shares 1/2 1/3 1/6: p_e = 7/18
    counts = np.array([[3, 0, 0], [0, 2, 1]])
    assert fleiss(counts) == pytest.approx((2 / 3 - 7 / 18) / (1 - 7 / 18), abs=1e-4)
    assert fleiss(np.array([[3, 0, 0], [0, 1, 1]])) is None  # not as many raters
    assert fleiss(np.array([[1, 0, 0], [0, 1, 0]])) is None
    assert fleiss(np.array([[3, 0, 0], [3, 0, 0]])) is None


def by_pairs(counts) -> float | None:
    """Krippendorff's alpha from every ordered pair of labels, one after the other."""
    items = [[label for label, n in enumerate(row) for _ in range(n)] for row in counts]
    items = [item for item in items if len(item) >= 2]
    total = sum(map(len, items))
    within = sum(sum(a != b for a, b in permutations(item, 2)) / (len(item) - 1) for item in items) / total if total else 0
    everything = [label for item in items for label in item]
    apart = sum(a != b for a, b in permutations(everything, 2))
    return 1 - within / (apart / (total * (total - 1))) if apart else None


@given(st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=1, max_size=6))
def test_krippendorff_is_its_definition(rows):
    found, slow = krippendorff(np.array(rows, dtype=np.int64)), by_pairs(rows)
    assert (found is None and slow is None) or found == pytest.approx(slow)


@given(st.lists(st.lists(st.sampled_from([0, 1, 2]), min_size=4, max_size=4), min_size=2, max_size=8))
def test_where_all_label_all_alpha_and_fleiss_differ_by_the_size_of_the_sample_alone(labels):
    counts = np.array([[row.count(label) for label in range(3)] for row in labels])
    alpha, kappa = krippendorff(counts), fleiss(counts)
    if alpha is not None and kappa is not None:
        total = counts.sum()
        assert 1 - alpha == pytest.approx((1 - kappa) * (total - 1) / total, abs=1e-3)
