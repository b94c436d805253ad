"""Worse answers are drawn from groups of texts."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodules.sources.text_pool import FEW, TextPool

ITEMS = [(("A", 1), "a1"), (("A", 1), "a1b"), (("A", 2), "a2"), (("B", 1), "b1"), (("B", 1), "b1")]


def generator(seed=0):
    return random.Random(seed)


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        ({}, {"a1", "a1b", "a2", "b1"}),
        ({"within": ("A",)}, {"a1", "a1b", "a2"}),
        ({"within": ("A", 1)}, {"a1", "a1b"}),
        ({"within": ("A",), "outside": ("A", 1)}, {"a2"}),
        ({"outside": ("A",)}, {"b1"}),
        ({"outside": ("A",), "but": {"b1"}}, set()),
        ({"within": ("C",)}, set()),
        ({"outside": ("C",)}, {"a1", "a1b", "a2", "b1"}),
    ],
)
def test_groups_nest(arguments, texts):
    assert set(TextPool(ITEMS).draw(9, generator(), **arguments)) == texts


def test_a_draw_does_not_depend_on_the_order_of_reading():
    assert TextPool(ITEMS).draw(2, generator(5)) == TextPool(ITEMS[::-1]).draw(2, generator(5))


@given(st.integers(0, 10**6), st.integers(0, 5), st.integers(1, 3 * FEW))
def test_what_is_drawn_is_different_allowed_and_as_many_as_there_are(seed, count, size):
    pool = TextPool(((i % 3,), f"t{i}") for i in range(size))
    but = {"t0", "t3", "t6"}
    allowed = {f"t{i}" for i in range(size) if i % 3 != 1} - but

    drawn = pool.draw(count, generator(seed), outside=(1,), but=but)

    assert len(set(drawn)) == len(drawn) == min(count, len(allowed))
    assert set(drawn) <= allowed


def test_every_text_of_a_large_group_can_be_drawn():
    pool = TextPool((("g",), f"t{i:03}") for i in range(200))
    seen = {text for seed in range(2000) for text in pool.draw(2, generator(seed))}
    assert len(seen) == 200


def test_an_empty_pool_gives_nothing():
    assert TextPool([]).draw(2, generator()) == []
