"""Answers in one row give the numbers of separate rows, and predict each at a place of its own."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinnari.functional.labels import shift_targets
from kinnari.models.shared_prefix import can_share, shared_inputs, shared_mask
from kinnari.rollouts.one_row import in_one_row, targets_in_row
from kinnari.rollouts.rollout import Rollout, collate_rollouts
from kinnari.text.prompts import Prompt
from tests.kinnari.models.test_packing import FAMILIES, METHODS, toy

PAIRS = [([5, 9, 17, 33], [60, 11, 8]), ([5, 9, 17], [44, 90]), ([5, 9, 18, 3, 70], [44, 90, 21, 6])]


def batch(pairs):
    made = collate_rollouts([Rollout(Prompt((), p, "r:0", ""), a, "", finished=True) for p, a in pairs], 0, seq2seq=False)
    return made["input_ids"], made["attention_mask"], shift_targets(made["labels"])


def test_two_answers_by_hand():
    ids, mask, targets = batch([([5, 9, 17, 33], [60, 11]), ([5, 9, 18], [60])])
    row = in_one_row(ids, mask, targets, 8)

    assert row.input_ids.tolist() == [[5, 9, 17, 33, 60, 11, 18, 60]]
    assert row.position_ids.tolist() == [[0, 1, 2, 3, 4, 5, 2, 3]]
    assert row.branches.tolist() == [[0, 0, 1, 1, 1, 1, 2, 2]]
    assert row.places[0, :6].tolist() == [0, 1, 2, 3, 4, 5] and row.places[1, :4].tolist() == [0, 1, 6, 7]
    assert targets_in_row(row, targets).tolist() == [[-100, -100, -100, 60, 11, -100, 60, -100]]
    assert shared_mask(row)[0, 0, 6].nonzero().squeeze(1).tolist() == [0, 1, 6]


def test_equal_prompts_share_all_but_the_token_that_predicts_the_answer():
    row = in_one_row(*batch([([5, 9, 17], [60, 11]), ([5, 9, 17], [61])]), 8)

    assert row.branches.tolist() == [[0, 0, 1, 1, 1, 2, 2, 0]] and row.pairs.tolist() == [[0] * 7 + [-1]]


def test_each_prompt_is_shared_by_its_answers_by_hand():
    ids, mask, targets = batch([([5, 9, 17], [60, 11]), ([5, 9, 17], [61]), ([5, 8, 7, 18], [62]), ([5, 8, 7, 18], [63])])
    row = in_one_row(ids, mask, targets, 8)

    assert row.input_ids[0].tolist() == [5, 9, 17, 60, 11, 17, 61, 5, 8, 7, 18, 62, 18, 63, 5, 5]
    assert row.position_ids[0, :14].tolist() == [0, 1, 2, 3, 4, 2, 3, 0, 1, 2, 3, 4, 3, 4]
    assert row.pairs[0].tolist() == [0] * 7 + [1] * 7 + [-1] * 2
    assert row.branches[0, :14].tolist() == [0, 0, 1, 1, 1, 2, 2, 0, 0, 0, 3, 3, 4, 4]
    assert shared_mask(row)[0, 0, 12].nonzero().squeeze(1).tolist() == [7, 8, 9, 12]


def test_long_answers_to_short_prompts_stay_in_rows_of_their_own():
    assert in_one_row(*batch([([5], [60] * 40), ([6], [61] * 40)]), 8) is None


tokens = st.lists(st.integers(1, 3), min_size=1, max_size=9)
repeated = st.tuples(tokens, st.lists(tokens, min_size=1, max_size=3)).map(lambda part: [(part[0], answer) for answer in part[1]])


@given(st.lists(repeated, min_size=1, max_size=4).map(lambda parts: [pair for part in parts for pair in part]))
@settings(deadline=None)
def test_every_token_keeps_its_position_sees_what_stood_before_it_and_predicts_alone(pairs):
    ids, mask, targets = batch(pairs)
    row = in_one_row(ids, mask, targets, 10**6)  # attention costs next to nothing, so all that shortens pays
    if row is None:
        assert sum(len(p) + len(a) for p, a in pairs) + 8 > ids.numel()
        return
    seen, laid = shared_mask(row)[0, 0], targets_in_row(row, targets)[0]
    predicting = row.places[targets != -100].tolist()
    assert len(set(predicting)) == len(predicting) == int((laid != -100).sum())
    for number, (prompt, answer) in enumerate(pairs):
        places = row.places[number][mask[number] != 0]
        assert row.input_ids[0, places].tolist() == prompt + answer
        assert row.position_ids[0, places].tolist() == list(range(len(prompt + answer)))
        assert laid[places[len(prompt) - 1 : -1]].tolist() == answer
        for t, place in enumerate(places.tolist()):
            assert seen[place].nonzero().squeeze(1).tolist() == sorted(places[: t + 1].tolist())


@pytest.mark.parametrize("layout", ["all", "prompts"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", sorted(METHODS))
def test_one_row_equals_separate_rows(family, attention, layout, monkeypatch):
    monkeypatch.setitem(FAMILIES, family, {key: value for key, value in FAMILIES[family].items() if "sliding_window" not in key})
    model = toy(family, attention)
    if not can_share(model.config, METHODS[family], 12):
        assert family == "glm_chinese"  # it reads questions in both directions
        return
    pairs = PAIRS if layout == "all" else [(prompt, answer) for prompt, first in PAIRS for answer in (first, [7, 7], [6])]
    ids, mask, targets = batch(pairs)
    row = in_one_row(ids, mask, targets, 10**6)
    assert int(row.pairs.max()) == (0 if layout == "all" else 2)
    with torch.no_grad():
        alone = [model(input_ids=torch.tensor([p + a]), use_cache=False).logits[0, :, 5] for p, a in pairs]
        found = row.separate(model(**shared_inputs(row, attention, torch.float32), use_cache=False).logits[..., 5])
    torch.testing.assert_close(found[mask != 0], torch.cat(alone), atol=1e-5, rtol=1e-5)
