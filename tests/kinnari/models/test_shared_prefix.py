"""Rows that share their beginning give the numbers of separate rows, for every family that may share."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinnari.models.shared_prefix import Layout, can_share, first_fit, lay_out, share_prefixes, shared_inputs, shared_mask
from tests.kinnari.models.test_packing import FAMILIES, METHODS, toy

PAIRS = [[5, 9, 17, 33, 60, 11, 8], [5, 9, 17, 44, 90], [70, 3, 44, 90], [71, 3, 44, 90, 21, 6, 55], [7, 8, 9], [7, 8, 9, 9, 2]]


def padded(rows, *, left=False, width=12, pad=0):
    ids, mask = torch.full((len(rows), width), pad), torch.zeros(len(rows), width, dtype=torch.int64)
    for b, row in enumerate(rows):
        span = slice(width - len(row), width) if left else slice(0, len(row))
        ids[b, span], mask[b, span] = torch.tensor(row), 1
    return ids, mask


def test_two_pairs_by_hand():
    rows = share_prefixes(*padded([[11, 12, 13, 14], [11, 12, 13, 16], [21, 22], [21, 23]], width=8), 8)

    assert rows.input_ids.tolist() == [[11, 12, 13, 14, 16, 21, 22, 23]]
    assert rows.position_ids.tolist() == [[0, 1, 2, 3, 3, 0, 1, 1]]
    assert rows.pairs.tolist() == [[0, 0, 0, 0, 0, 1, 1, 1]]
    assert rows.branches.tolist() == [[0, 0, 0, 1, 2, 0, 1, 2]]
    assert rows.places[:2, :4].tolist() == [[0, 1, 2, 3], [0, 1, 2, 4]] and rows.places[2:, :2].tolist() == [[5, 6], [5, 7]]
    seen = shared_mask(rows)[0, 0]
    assert [row.nonzero().squeeze(1).tolist() for row in seen] == [
        [0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 4], [5], [5, 6], [5, 7],
    ]  # fmt: skip


def test_pairs_stand_in_rows_as_wide_as_the_longest_or_all_in_one():
    assert first_fit([3, 16, 5, 9, 7], 16) == Layout([2, 0, 2, 1, 1], [5, 0, 0, 0, 9], 16)
    assert lay_out([100, 30, 30, 30], 1000).width == 192  # 190 tokens in a row instead of two rows of 104
    assert lay_out([100, 30, 30, 30], 10).width == 104  # attention over 192 costs more than 16 tokens less save
    assert lay_out([100, 30, 30, 30], 10).rows == [0, 1, 1, 1]


rows_of_tokens = st.lists(st.integers(1, 3), min_size=1, max_size=9)


@given(st.lists(st.tuples(rows_of_tokens, rows_of_tokens), min_size=1, max_size=4), st.booleans(), st.integers(0, 3), st.integers(1, 64))
@settings(deadline=None)
def test_every_token_keeps_its_position_and_sees_what_stood_before_it(pairs, left, pad, hidden):
    separate = [row for pair in pairs for row in pair]
    ids, mask = padded(separate, left=left, pad=pad, width=40)
    rows = share_prefixes(ids, mask, hidden)
    width = rows.input_ids.shape[1]
    seen = shared_mask(rows)[:, 0]
    for number, tokens in enumerate(separate):
        places = rows.places[number][mask[number] != 0]
        row, columns = int(places[0]) // width, places % width
        assert (places // width == row).all()
        assert rows.input_ids[row, columns].tolist() == tokens
        assert rows.position_ids[row, columns].tolist() == list(range(len(tokens)))
        for t, column in enumerate(columns.tolist()):
            assert seen[row, column].nonzero().squeeze(1).tolist() == columns[: t + 1].tolist()
    needed = [len(a) + len(b) - _common(a, b) for a, b in pairs]
    assert max(needed) <= width < sum(needed) + 8
    assert int((rows.pairs >= 0).sum()) == sum(needed)
    assert seen.diagonal(dim1=1, dim2=2).all()  # no row of the mask is empty, padding's neither


def _common(one, other):
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", sorted(METHODS))
def test_shared_rows_equal_separate_ones(family, attention, monkeypatch):
    monkeypatch.setitem(FAMILIES, family, {key: value for key, value in FAMILIES[family].items() if "sliding_window" not in key})
    model = toy(family, attention)
    if not can_share(model.config, METHODS[family], 12):
        assert family == "glm_chinese"  # it reads questions in both directions
        return
    with torch.no_grad():
        alone = torch.cat([model(input_ids=torch.tensor([row]), use_cache=False).logits[0, :, 5] for row in PAIRS])
        for left in (False, True):
            ids, mask = padded(PAIRS, left=left)
            rows = share_prefixes(ids, mask, 32)
            found = rows.separate(model(**shared_inputs(rows, attention, torch.float32), use_cache=False).logits[..., 5])
            torch.testing.assert_close(found[mask != 0], alone, atol=1e-5, rtol=1e-5)


def test_rows_longer_than_a_sliding_window_stay_separate():
    config = toy("gemma3_text", "sdpa").config  # its window is 4 tokens

    assert can_share(config, "position_ids", 4)
    assert not can_share(config, "position_ids", 5)
    assert not can_share(config, "none", 4)
    config._attn_implementation = "flash_attention_2"  # takes no such mask
    assert not can_share(config, "position_ids", 4)


def test_sharing_pays_where_the_prompt_is_long_and_not_where_the_answers_are():
    prompt, answers = list(range(3, 43)), ([50] * 8, [60] * 8)
    ids, mask = padded([prompt + answers[0], prompt + answers[1]], width=48)
    assert share_prefixes(ids, mask, 32).input_ids.shape == (1, 56)  # tokens, not 96

    ids, mask = padded([[3, *[50] * 47], [3, *[60] * 47]], width=48)
    assert share_prefixes(ids, mask, 32) is None  # 96 as before, and all of them in one row's attention
