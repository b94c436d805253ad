"""What a tree reads and asks, by hand; and that no way to part it changes a sum."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kinnari.evaluation.likelihood.rows import ancestors, batches_of, within
from kinnari.evaluation.likelihood.tree import Branch, Tree, common_length, plant

A, B, C, D, E, F, G = range(10, 17)


def label_branch(*ids: int, start: int) -> Branch:
    return Branch(ids, ((start, len(ids)),))


def test_a_shared_beginning_and_a_shared_first_token_are_read_once_and_last_tokens_never():
    tree = Tree([label_branch(A, B, C, D, E, start=3), label_branch(A, B, C, D, G, start=3), label_branch(A, B, C, F, start=3)], 0)
    (row,) = tree.rows(branching=True)
    assert row.ids == [A, B, C, D] and row.positions == [0, 1, 2, 3] and row.is_chain
    # behind C come D and F, behind D come E and G
    assert sorted(zip(row.places, row.targets, strict=True)) == [(2, D), (2, F), (3, E), (3, G)]


def test_branches_stand_side_by_side_and_see_their_ancestors():
    tree = Tree([label_branch(A, B, C, D, start=1), label_branch(A, E, F, start=1)], 0)
    (row,) = tree.rows(branching=True)
    assert (row.ids, row.parents, row.positions) == ([A, B, C, E], [-1, 0, 1, 0], [0, 1, 2, 1])
    assert ancestors([row], past=1)[0].int().tolist() == [
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 0, 0, 1],
    ]


def test_where_no_trees_are_taken_every_leaf_is_a_row_and_nothing_is_asked_twice():
    tree = Tree([label_branch(A, B, C, D, start=1), label_branch(A, E, F, start=1)], 0)
    first, second = tree.rows(branching=False)
    assert (first.ids, second.ids) == ([A, B, C], [A, E])
    assert sorted(first.targets + second.targets) == [B, C, D, E, F]


def test_a_window_is_measured_along_the_branch():
    positions = torch.tensor([[2, 3, 3]])  # two tokens are cached, then one and its two children
    assert within(positions, past=2, window=2)[0].int().tolist() == [[0, 1, 1, 1, 1], [0, 0, 1, 1, 1], [0, 0, 1, 1, 1]]


def test_batches_are_filled_with_rows_of_about_one_length():
    tree = Tree([], 0)
    rows = [tree._row([], [], []) for _ in range(5)]
    for row, length in zip(rows, (3, 10, 4, 9, 30), strict=True):
        row.ids.extend([0] * length)
    assert [[len(row.ids) for row in batch] for batch in batches_of(rows, 20)] == [[30], [10, 9], [4, 3]]


@pytest.mark.parametrize(
    ("texts", "common"), [([(1, 2, 3), (1, 2, 4), (1, 2)], 2), ([(1,), (2,)], 0), ([(1, 2)], 2), ([(5, 1), (5, 1)], 2)]
)
def test_common_length(texts, common):
    assert common_length(texts) == common


def test_long_texts_that_share_little_are_rows_of_their_own_and_short_labels_one_row():
    apart = [Branch((1, i, *range(i, i + 400)), ((1, 402),)) for i in range(10, 16)]
    assert len(plant(apart, 0, hidden_size=64, most=10_000)) == 6
    together = [Branch((*range(400), i, i), ((400, 402),)) for i in range(500, 600)]
    assert len(plant(together, 0, hidden_size=64, most=10_000)) == 1


BRANCHES = st.lists(
    st.lists(st.integers(0, 2), min_size=2, max_size=9).flatmap(
        lambda ids: st.tuples(st.just(tuple(ids)), st.integers(1, len(ids) - 1), st.integers(0, 1))
    ),
    min_size=1,
    max_size=8,
)


def value(path: tuple[int, ...]) -> float:
    """A number that depends on every token."""
    return float(np.sin(sum((i + 1.3) * (token + 1) for i, token in enumerate(path))))


@given(parts=BRANCHES, past=st.integers(0, 4), branching=st.booleans(), hidden=st.sampled_from([1, 1000]))
def test_sums_are_those_of_each_text_however_it_is_parted(parts, past, branching, hidden):
    stem = (7,) * past if past else ()
    branches = [
        Branch((*stem, 9, *ids), ((past + start, past + 1 + len(ids)),), (past + 1 + len(ids)) * itself) for ids, start, itself in parts
    ]
    prefix = np.zeros((2, past + 1))
    for t in range(past):
        prefix[0, t + 1], prefix[1, t] = value((*stem, 9)[: t + 2]), value((*stem[: t + 1], 2))
    found: dict[int, list[float]] = {}
    for order, tree in plant(branches, past, hidden, most=6):
        for row in tree.rows(branching=branching):
            for place, target, slot in zip(row.places, row.targets, row.slots, strict=True):
                path, column = [], place
                while column >= 0:
                    path.append(row.ids[column])
                    column = row.parents[column]
                text = (*stem, *path[::-1])
                tree.values[slot] = value((*text, 2)) if slot >= len(tree.tokens) else value((*text, target))
        found |= dict(zip(order, tree.sums(prefix), strict=True))
    for i, branch in enumerate(branches):
        start, stop = branch.spans[0]
        expected = [sum(value(branch.ids[: t + 1]) for t in range(start, stop))]
        if branch.itself:
            expected.append(np.mean([value((*branch.ids[: t + 1], 2)) for t in range(branch.itself)]))
        assert found[i] == pytest.approx(expected)
