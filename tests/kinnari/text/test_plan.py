"""The batch plan: which records a step trains on must not depend on the machine."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinnari.errors import ConfigError
from kinnari.text.plan import BatchPlan, accumulation, pack, pack_evenly, temperature_weights, two_sided_groups


def plan(lengths, **changes):
    lengths = np.asarray(lengths)
    settings = {"global_size": 4, "micro_size": 2, "world_size": 1, "packing": "none", "capacity": 16, "seed": 0}
    weights = changes.pop("weights", np.ones(len(lengths)))
    trained = changes.pop("trained_counts", lengths - 1)
    return BatchPlan(lengths=lengths, trained_counts=trained, weights=weights, **(settings | changes))


def members(share):
    return [record for micro in share for row in micro for record in row]


@given(
    lengths=st.lists(st.integers(2, 16), min_size=1, max_size=40),
    world=st.sampled_from([1, 2, 4]),
    micro=st.sampled_from([1, 2]),
    packing=st.sampled_from(["none", "length_grouped", "packed"]),
    seed=st.integers(0, 5),
    seq2seq=st.booleans(),
)
def test_every_layout_trains_the_same_records_in_each_step(lengths, world, micro, packing, seed, seq2seq):
    reference = plan(lengths, global_size=8, micro_size=8, seed=seed)
    other = plan(lengths, global_size=8, micro_size=micro, world_size=world, packing=packing, seed=seed, seq2seq=seq2seq)

    assert other.steps_per_epoch == reference.steps_per_epoch
    for step in range(reference.steps_per_epoch * 2):
        laid_out = [r for rank in range(world) for r in members(other.share(step, rank))]
        assert sorted(laid_out) == sorted(reference.records(step).tolist())
        assert other.step_tokens(step) == reference.step_tokens(step)


@given(lengths=st.lists(st.integers(2, 16), min_size=1, max_size=40), packing=st.sampled_from(["none", "length_grouped", "packed"]))
def test_ranks_have_equally_many_micro_batches(lengths, packing):
    two = plan(lengths, world_size=2, packing=packing)

    for step in range(two.steps_per_epoch):
        assert len(two.share(step, 0)) == len(two.share(step, 1))


@given(lengths=st.lists(st.integers(1, 16), min_size=1, max_size=60))
def test_packed_rows_never_exceed_the_capacity_and_lose_nothing(lengths):
    rows = pack(np.arange(len(lengths)), np.asarray(lengths), capacity=16)

    assert all(sum(lengths[r] for r in row) <= 16 for row in rows)
    assert sorted(r for row in rows for r in row) == list(range(len(lengths)))


def test_two_sided_groups_as_worked_by_hand():
    # 0 begins; 2 pads it by 1 source and 6 target tokens, 1 would by 7 and 6
    assert two_sided_groups(np.array([9, 2, 8]), np.array([1, 7, 7]), 2).tolist() == [0, 2, 1]


def test_like_sources_with_like_targets_pad_less_than_like_totals():
    """Source and target of 64 records know nothing of each other, in 8 micro-batches of 8."""
    rng = np.random.default_rng(0)
    sources, targets = rng.integers(1, 100, 64), rng.integers(1, 100, 64)

    def padded(settings):
        laid_out = plan(sources + targets, trained_counts=targets, global_size=64, micro_size=8, packing="length_grouped", **settings)
        micros = [[r for row in micro for r in row] for micro in laid_out.share(0, 0)]
        return sum(len(m) * (sources[m].max() + targets[m].max()) for m in micros) - int((sources + targets).sum())

    assert padded({"seq2seq": True}) < 0.75 * padded({"seq2seq": False})


@pytest.mark.parametrize("world", [1, 2])
def test_micro_batches_of_every_rank_are_the_groups(world):
    # totals 18 17 16 15 in two kinds: long sources with short targets, and the reverse
    sources, targets = np.array([16, 2, 14, 2]), np.array([2, 15, 2, 13])
    laid_out = plan(sources + targets, trained_counts=targets, packing="length_grouped", seq2seq=True, world_size=world)

    found = [sorted(r for row in micro for r in row) for rank in range(world) for micro in laid_out.share(0, rank)]
    assert found == [[0, 2], [1, 3]]


def test_best_fit_decreasing_fills_rows_as_worked_by_hand():
    # sorted 9 7 6 5 4 1 in rows of 10: 9+1 | 7 | 6+4 | 5
    rows = pack(np.arange(6), np.array([5, 7, 9, 4, 1, 6]), capacity=10)

    assert rows == [(2, 4), (5, 3), (1,), (0,)]


@given(lengths=st.lists(st.integers(1, 64), min_size=1, max_size=60), block=st.integers(1, 8))
def test_even_rows_lose_nothing_and_need_no_further_forward_pass(lengths, block):
    lengths = np.asarray(lengths)
    fewest = pack(np.arange(len(lengths)), lengths, capacity=64)

    rows = pack_evenly(np.arange(len(lengths)), lengths, capacity=64, block=block)

    assert sorted(r for row in rows for r in row) == list(range(len(lengths)))
    assert -(-len(rows) // block) == -(-len(fewest) // block)
    widest = max(sum(lengths[list(row)]) for row in rows)
    assert widest <= max(sum(lengths[list(row)]) for row in fewest) or widest <= 64


def test_short_records_are_spread_over_the_rows_of_a_forward_pass():
    # 8 records of 8 tokens: one row of 64 would do, but four rows of 16 are computed as fast and attend to a quarter
    rows = pack_evenly(np.arange(8), np.full(8, 8), capacity=64, block=4)

    assert [len(row) for row in rows] == [2, 2, 2, 2]


def test_an_epoch_sees_every_record_once_and_epochs_differ():
    one = plan([3] * 10)

    assert sorted(one.order(0).tolist()) == list(range(10))
    assert one.order(0).tolist() != one.order(1).tolist()
    assert one.order(0).tolist() == plan([3] * 10).order(0).tolist()


def test_weight_two_and_a_half_means_two_passes_and_half_the_records_thrice():
    one = plan([3] * 4, weights=np.full(4, 2.5))

    counts = np.bincount(one.order(0), minlength=4)
    assert sorted(counts.tolist()) == [2, 2, 3, 3]


def test_the_last_step_of_an_epoch_may_be_smaller_but_is_not_dropped():
    one = plan([3] * 10)

    assert [len(one.records(step)) for step in range(3)] == [4, 4, 2]


def test_length_grouping_sorts_within_a_step_longest_first():
    lengths = [2, 9, 4, 7]
    grouped = plan(lengths, packing="length_grouped")

    assert [lengths[r] for r in members(grouped.share(0, 0))] == [9, 7, 4, 2]


def test_length_grouping_gives_each_rank_neighbours_in_length():
    lengths = [8, 7, 6, 5, 4, 3, 2, 9]
    grouped = plan(lengths, packing="length_grouped", global_size=8, world_size=2)

    first, second = ([[lengths[r[0]] for r in micro] for micro in grouped.share(0, rank)] for rank in (0, 1))
    assert first == [[9, 8], [5, 4]]
    assert second == [[7, 6], [3, 2]]


@pytest.mark.parametrize(("sizes", "micro_batches"), [((16, 4, 1), 4), ((16, 4, 2), 2), ((128, 1, 4), 32)])
def test_accumulation_is_exact(sizes, micro_batches):
    assert accumulation(*sizes) == micro_batches


def test_sizes_that_do_not_divide_are_refused_with_the_nearest_that_do():
    with pytest.raises(
        ConfigError, match=r"not a multiple.*4 x 2 = 8.*global_size=8 or batch.global_size=16.*micro_size in \[1, 2, 3, 6\]"
    ):
        accumulation(12, 4, 2)


def test_an_unknown_packing_names_the_choices():
    with pytest.raises(ConfigError, match="none, length_grouped, packed"):
        plan([3], packing="tight")


def test_temperature_one_leaves_every_source_at_one_pass():
    assert temperature_weights([100, 400, 7], 1.0) == pytest.approx([1.0, 1.0, 1.0])


def test_temperature_two_goes_by_square_roots():
    # sqrt(100) : sqrt(400) = 1 : 2, so 500 records are shared as 166.7 and 333.3
    assert temperature_weights([100, 400], 2.0) == pytest.approx([5 / 3, 5 / 6])


def test_a_temperature_near_zero_leaves_the_largest_source_alone():
    assert temperature_weights([100, 400], 1e-6) == pytest.approx([0.0, 1.25])


def test_a_high_temperature_makes_shares_equal_and_the_epoch_keeps_its_length():
    counts = [10, 1000, 90]
    seen = [n * w for n, w in zip(counts, temperature_weights(counts, 1e9), strict=True)]
    assert seen == pytest.approx([1100 / 3] * 3) and temperature_weights([0, 5], 2.0) == pytest.approx([1.0, 1.0])
