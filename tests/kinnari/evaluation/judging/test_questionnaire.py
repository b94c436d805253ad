"""Sheets are blind, balanced and can be read back in five languages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinnari.errors import ConfigError
from kinnari.evaluation.judging.questionnaire import LAYOUTS, Item, is_summary, layout_of, read_label, sheet

ITEMS = [Item(id=str(i), prompt=f"q{i}", first=f"a{i}", second=f"b{i}") for i in range(40)]


def test_the_thai_layout_has_the_published_columns():
    assert LAYOUTS["th"].columns == ("message_id", "คำสั่ง", "คำตอบของ A", "คำตอบของ B", "คำตอบไหนดีกว่ากัน")
    assert [LAYOUTS["th"].label(v) for v in ("first", "second", "tie")] == ["A ทำได้ดีกว่า", "B ทำได้ดีกว่า", "ดี/แย่พอกัน"]


@pytest.mark.parametrize("language", LAYOUTS)
def test_a_sheet_names_no_system_and_its_key_says_where_each_stood(language):
    layout = LAYOUTS[language]
    rows, key = sheet(ITEMS, ("model_x", "model_y"), layout, seed=7)
    assert all(tuple(row) == layout.columns and row[layout.choice] == "" for row in rows)
    assert "model" not in str(rows)
    for item, row, sides in zip(ITEMS, rows, key, strict=True):
        texts = {"model_x": item.first, "model_y": item.second}
        assert (row[layout.answer_a], row[layout.answer_b]) == (texts[sides["A"]], texts[sides["B"]])
        assert (sides["id"], sides["first"]) == (item.id, "model_x")


@given(st.integers(1, 40), st.integers(0, 99))
def test_each_side_stands_first_in_half_of_the_rows_drawn_by_seed(n, seed):
    _, key = sheet(ITEMS[:n], ("x", "y"), LAYOUTS["en"], seed)
    assert abs(sum(row["A"] == "x" for row in key) - n / 2) <= 0.5
    assert key == sheet(ITEMS[:n], ("x", "y"), LAYOUTS["en"], seed)[1]


def test_seeds_differ():
    assert sheet(ITEMS, ("x", "y"), LAYOUTS["en"], 0) != sheet(ITEMS, ("x", "y"), LAYOUTS["en"], 1)


def test_no_cell_is_a_formula():
    rows, _ = sheet([Item(id="1", prompt="=1+1", first="- one", second="plain")], ("x", "y"), LAYOUTS["en"], 0)
    assert set(rows[0].values()) == {"1", "'=1+1", "'- one", "plain", ""}


def test_an_id_that_occurs_twice_is_refused():
    with pytest.raises(ConfigError, match="'1' occurs twice"):
        sheet([ITEMS[1], ITEMS[1]], ("x", "y"), LAYOUTS["en"], 0)


def test_layouts_are_told_by_their_header():
    for layout in LAYOUTS.values():
        assert layout_of(dict.fromkeys(layout.columns), "f") is layout
        assert layout_of(dict.fromkeys((*layout.columns, *layout.counts)), "f", summary=True) is layout
        assert not is_summary(dict.fromkeys(layout.columns)) and is_summary(dict.fromkeys(layout.counts))
    with pytest.raises(ConfigError, match="f is no questionnaire"):
        layout_of({"message_id": "", "answer": ""}, "f")


def test_no_two_labels_of_any_language_are_confused():
    for layout in LAYOUTS.values():
        for verdict in ("first", "second", "tie"):
            assert read_label(f" {layout.label(verdict)} ", "f") == verdict


@pytest.mark.parametrize(
    ("cell", "said"),
    [("A", "first"), ("b", "second"), ("TIE", "tie"), ("1", "first"), (2, "second"), ("3", "tie"), ("", None), (None, None), ("  ", None)],
)
def test_letters_and_codes_are_choices(cell, said):
    assert read_label(cell, "f") == said


def test_another_word_is_refused_with_its_place():
    with pytest.raises(ConfigError, match="sheet, message_id 7: 'both'"):
        read_label("both", "sheet, message_id 7")
