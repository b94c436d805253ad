"""Positions, borders and masks of rows, against hand-worked numbers and a slow reading token by token."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinnari.models.glm.inputs import BlankTokens, build_inputs_for_generation, build_inputs_for_multiple_choice, row_layout, seen_keys
from tests.kinnari.models.glm.toys import CLS, EOP, EOT, GMASK, MASK, ROW, SEP, SHORT, SMASK, SOP, padded

BLANKS = BlankTokens((MASK, GMASK, SMASK), SOP, EOP, EOT)


def slow_layout(row):
    """(position, position in the blank, tokens seen) of every token of one record."""
    sop = row.index(SOP) if SOP in row else None
    context = row[:sop] if sop is not None else []
    blank = next((i for i, token in enumerate(context) if token in BLANKS.masks), max(len(context) - 1, 0))
    result = []
    for i in range(len(row)):
        if sop is None or i < sop:
            result.append((i, 0, set(range(i + 1)) if sop is None else set(range(sop))))
        else:
            result.append((blank, i - sop + 1, set(range(i + 1))))
    return result


def test_the_answer_stands_where_the_blank_is_and_counts_from_its_first_token():
    layout = row_layout(torch.tensor([ROW]), BLANKS)

    assert layout.positions.tolist() == [[[0, 1, 2, 3, 4, 5, 4, 4, 4, 4], [0, 0, 0, 0, 0, 0, 1, 2, 3, 4]]]


def test_the_context_sees_itself_whole_and_the_answer_sees_what_stands_before_it():
    seen = row_layout(torch.tensor([SHORT]), BLANKS).visible()[0, 0].int()

    assert seen.tolist() == [[1, 1, 1, 1, 0, 0, 0]] * 4 + [[1, 1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1, 1]]


@pytest.mark.parametrize(("first", "second"), [(MASK, GMASK), (GMASK, MASK), (SMASK, MASK)])
def test_the_first_of_several_blanks_wins(first, second):
    positions = row_layout(torch.tensor([[CLS, 7, first, 8, second, EOT, SOP, 9]]), BLANKS).positions

    assert positions[0, 0, -2:].tolist() == [2, 2]


def test_a_blank_typed_in_the_answer_moves_nothing():
    assert row_layout(torch.tensor([[CLS, MASK, SOP, 9, GMASK, SOP, 3]]), BLANKS).positions[0, 0].tolist() == [0, 1, 1, 1, 1, 1, 1]


rows = st.lists(st.sampled_from([1, 2, 3, MASK, GMASK, SOP, EOP]), min_size=1, max_size=12)


@settings(max_examples=150, deadline=None)
@given(st.lists(rows, min_size=1, max_size=3), st.booleans(), st.sampled_from([torch.int64, torch.int32, torch.bool, torch.float32]))
def test_layouts_of_padded_rows_equal_a_slow_reading(batch, left, dtype):
    ids, mask = padded(batch, left)
    layout = row_layout(ids, BLANKS, mask.to(dtype))
    seen = layout.visible()[:, 0]
    for i, row in enumerate(batch):
        offset = ids.shape[1] - len(row) if left else 0
        for t, (position, in_blank, columns) in enumerate(slow_layout(row)):
            assert layout.positions[i, :, offset + t].tolist() == [position, in_blank]
            assert set((seen[i, offset + t].nonzero()[:, 0] - offset).tolist()) == columns
    assert seen.diagonal(dim1=1, dim2=2).all()


@settings(max_examples=100, deadline=None)
@given(st.lists(rows, min_size=1, max_size=4))
def test_layouts_of_packed_rows_equal_those_of_each_record_alone(records):
    ids = torch.tensor([[token for record in records for token in record]])
    positions = torch.tensor([[t for record in records for t in range(len(record))]])
    layout = row_layout(ids, BLANKS, positions=positions)
    seen, start = layout.visible()[0, 0], 0
    for record in records:
        for t, (position, in_blank, columns) in enumerate(slow_layout(record)):
            assert layout.positions[0, :, start + t].tolist() == [position, in_blank]
            assert set((seen[start + t].nonzero()[:, 0] - start).tolist()) == columns
        start += len(record)


def test_masks_of_every_kind_say_the_same():
    seen = torch.tensor([[1, 1, 0], [1, 1, 1]])[None, None].bool()
    additive = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)

    for mask in (seen, seen.long(), seen.double(), additive, additive.masked_fill(~seen, -torch.inf)):
        assert seen_keys(mask).equal(seen)
    assert seen_keys(torch.zeros(1, 1, 2, 2)).all(), "an additive mask of zeros hides nothing"


def test_contexts_end_in_sop_and_are_padded_on_the_left():
    inputs = build_inputs_for_generation([[CLS, 4, MASK, EOT], [MASK]], BLANKS)

    assert inputs["input_ids"].tolist() == [[CLS, 4, MASK, EOT, SOP], [EOT, EOT, EOT, MASK, SOP]]
    assert inputs["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [0, 0, 0, 1, 1]]


def test_targets_become_labels_on_the_tokens_themselves():
    inputs = build_inputs_for_generation([[CLS, MASK], [CLS, 4, MASK]], BLANKS, [[5, 6], []])

    assert inputs["input_ids"].tolist() == [[CLS, MASK, SOP, 5, 6, EOP], [CLS, 4, MASK, SOP, EOP, EOT]]
    assert inputs["labels"].tolist() == [[-100, -100, -100, 5, 6, EOP], [-100, -100, -100, -100, EOP, -100]]
    assert inputs["attention_mask"].tolist() == [[1] * 6, [1, 1, 1, 1, 1, 0]]


def test_choices_share_the_context_and_hide_from_each_other():
    row = build_inputs_for_multiple_choice([CLS, MASK, EOT], [[4, 5], [6]], BLANKS)

    assert row.input_ids.tolist() == [[CLS, MASK, EOT, SOP, 4, SOP]]
    assert row.position_ids.tolist() == [[[0, 1, 2, 1, 1, 1], [0, 0, 0, 1, 2, 1]]]
    assert row.targets.tolist() == [[-100, -100, -100, 4, 5, 6]]
    assert row.attention_mask[0, 0].int().tolist() == [
        [1, 1, 1, 0, 0, 0], [1, 1, 1, 0, 0, 0], [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 0], [1, 1, 1, 0, 0, 1],
    ]  # fmt: skip


def test_rows_without_a_blank_and_choices_without_tokens_are_refused():
    with pytest.raises(ValueError, match=r"\[1\] have no blank"):
        build_inputs_for_generation([[MASK], [CLS]], BLANKS)
    with pytest.raises(ValueError, match="each context needs one"):
        build_inputs_for_generation([[MASK]], BLANKS, [])
    with pytest.raises(ValueError, match="no blank"):
        build_inputs_for_multiple_choice([CLS, SEP], [[4]], BLANKS)
    with pytest.raises(ValueError, match="a token in each"):
        build_inputs_for_multiple_choice([MASK], [[4], []], BLANKS)
