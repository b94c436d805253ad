"""What is wrong with a row of text columns."""

import pytest

from datamodules.sources.columns import cell, wrong_text_columns


def test_text_in_every_required_column_is_right():
    assert wrong_text_columns({"q": "어?", "a": "네", "more": 3}, ("q", "a")) is None


@pytest.mark.parametrize("missing", [{}, {"c": None}, {"c": ""}])
def test_optional_columns_may_be_empty_or_missing(missing):
    assert wrong_text_columns({"q": "Hi"} | missing, ("q",), ("c",)) is None


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (None, "this one is a NoneType"),
        (["q"], "this one is a list"),
        ({}, "column 'q' is missing, empty or not text; expected columns: q, c; found: none"),
        ({"Q": "Hi"}, "found: Q"),
        ({"q": " \n"}, "'q' is missing, empty or not text"),
        ({"q": 3}, "'q' is missing, empty or not text"),
        ({"q": "Hi", "c": {}}, None),
        ({"q": "Hi", "c": ["x"]}, "column 'c' is not text"),
    ],
)
def test_another_row_is_refused_with_the_reason(row, reason):
    found = wrong_text_columns(row, ("q",), ("c",))

    assert found is None if reason is None else reason in found


def test_a_cell_is_text_or_a_number_and_nothing_else():
    assert [cell({"a": value}, "a") for value in (" 1 ", 1, 1.5, None, ["x"])] == ["1", "1", "1.5", "", ""]
