"""JSON in its layouts, whole and damaged: the bad row is named with its line, the rest goes on."""

import json
import random
import sys
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules.reading import json_stream, read_rows
from datamodules.reading.json_rows import rows_in_object


def rows_of(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [row for _, row in read_rows(str(path))]


def good(rows):
    return [(r.line, r.value) for r in rows if r.error is None]


def bad(rows):
    return [(r.line, r.error) for r in rows if r.error]


def test_json_lines_and_a_json_list_give_the_same_rows(tmp_path):
    values = [{"a": "ไทย"}, {"a": "한국어 中文"}]
    lines = rows_of(tmp_path / "a.jsonl", "\n".join(json.dumps(v) for v in values))
    listed = rows_of(tmp_path / "a.json", json.dumps(values, ensure_ascii=False, indent=1))

    assert [r.value for r in lines] == [r.value for r in listed] == values
    assert [r.line for r in lines] == [1, 2]


def test_a_broken_line_is_reported_with_its_place_and_the_next_goes_on(tmp_path):
    rows = rows_of(tmp_path / "a.jsonl", '{"a": 1}\n{"a": \n\n{"a": 3}\n')

    assert good(rows) == [(1, {"a": 1}), (4, {"a": 3})]
    assert bad(rows) == [(2, "broken JSON (Expecting value at column 7)")]


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_the_first_line_may_be_the_broken_one(tmp_path, suffix):
    rows = rows_of(tmp_path / f"a{suffix}", '{"a": oops}\n{"a": 2}\n{"a": 3}\n')

    assert good(rows) == [(2, {"a": 2}), (3, {"a": 3})] and bad(rows)[0][0] == 1


def test_a_broken_element_of_a_list_does_not_take_the_rest_with_it(tmp_path):
    rows = rows_of(tmp_path / "a.json", '[\n{"a": 1},\n{"a": oops},\n{"a": 3}\n]')

    assert good(rows) == [(2, {"a": 1}), (4, {"a": 3})]
    assert bad(rows) == [(3, "broken JSON (Expecting value at line 3, column 7)")]


def test_after_a_broken_element_objects_within_it_are_not_taken_for_rows(tmp_path):
    values = [{"id": i, "turns": [{"id": "x", "text": "q"}, {"id": "y", "text": "a"}]} for i in range(3)]
    indented = json.dumps(values, indent=2).replace('"id": 1,', '"id": oops,')
    on_one_line = json.dumps([{"key": i, "turns": v["turns"]} for i, v in enumerate(values)]).replace('"key": 1,', '"key": oops,')

    assert [r.value for r in rows_of(tmp_path / "a.json", indented) if not r.error] == [values[0], values[2]]
    assert [r.value["key"] for r in rows_of(tmp_path / "b.json", on_one_line) if not r.error] == [0, 2]


def test_the_column_of_an_error_on_a_line_of_megabytes_is_that_of_the_file(tmp_path):
    text = "[" + ", ".join(json.dumps({"n": n, "text": "x" * 50}) for n in range(40_000)) + "]"
    place = text.index('"n": 30000,') + len('"n": ')
    rows = rows_of(tmp_path / "a.json", text[:place] + "?" + text[place + 1 :])

    assert len(good(rows)) == 39_999
    assert bad(rows) == [(1, f"broken JSON (Expecting value at line 1, column {place + 1})")]


def test_a_list_that_was_cut_off_keeps_its_whole_rows(tmp_path):
    rows = rows_of(tmp_path / "a.json", '[{"a": 1},\n{"a": 2},\n{"a": "thr')

    assert [value for _, value in good(rows)] == [{"a": 1}, {"a": 2}]
    assert [line for line, _ in bad(rows)] == [3, 3]
    assert "Unterminated string starting at line 3, column 7" in bad(rows)[0][1] and "cut off" in bad(rows)[1][1]


def test_text_after_the_end_of_a_list_is_reported(tmp_path):
    rows = rows_of(tmp_path / "a.json", '[\n{"a": 1}\n]\n{"a": 2}\n')

    assert good(rows) == [(2, {"a": 1})] and bad(rows) == [(4, "text stands after the end of the list")]


def test_bytes_that_are_not_utf8_reject_only_their_row(tmp_path):
    lines = rows_of(tmp_path / "a.jsonl", b'{"a": "ok"}\n{"a": "\xff\xfe"}\n{"a": "\\ud800"}\n{"a": "\\ud83d\\ude42"}')
    listed = rows_of(tmp_path / "a.json", b'[{"a": "ok"},\n{"a": "\xff\xfe"},\n{"\\ud800": 1},\n{"a": "\\ud83d\\ude42"}]')

    for rows in (lines, listed):
        assert [value for _, value in good(rows)] == [{"a": "ok"}, {"a": "🙂"}]
        assert bad(rows) == [(2, "the row holds bytes that are not UTF-8"), (3, "the row holds bytes that are not UTF-8")]


def test_a_byte_order_mark_is_no_error(tmp_path):
    assert rows_of(tmp_path / "a.json", b'\xef\xbb\xbf[{"a": 1}]')[0].value == {"a": 1}


def test_line_separators_inside_strings_do_not_end_a_row(tmp_path):
    assert rows_of(tmp_path / "a.jsonl", '{"a": "one\u2028two"}\r\n\r\n{"a": 2}')[0].value == {"a": "one\u2028two"}


@pytest.mark.parametrize("levels", [150, 100_000])
def test_deep_nesting_is_the_error_of_its_row(tmp_path, levels):
    deep = '{"a": ' + "[" * levels + "]" * levels + "}"
    lines = rows_of(tmp_path / "a.jsonl", f'{deep}\n{{"a": 2}}')
    listed = rows_of(tmp_path / "a.json", f'[\n{deep},\n{{"a": 2}}]')

    assert bad(lines) == [(1, "the row is nested more than 100 levels deep")] and good(lines) == [(2, {"a": 2})]
    assert bad(listed) == [(2, "the row is nested more than 100 levels deep")] and good(listed) == [(3, {"a": 2})]


def test_a_number_of_thousands_of_digits_is_the_error_of_its_row(tmp_path):
    rows = rows_of(tmp_path / "a.jsonl", "9" * (sys.get_int_max_str_digits() + 1) + '\n{"a": 2}')

    assert "digits" in bad(rows)[0][1] and good(rows) == [(2, {"a": 2})]


def test_rows_may_be_lists_each_on_its_line(tmp_path):
    assert good(rows_of(tmp_path / "a.jsonl", "[1, 2]\n\n[3, [4]]\n")) == [(1, [1, 2]), (3, [3, [4]])]
    assert good(rows_of(tmp_path / "b.jsonl", '[{"a": 1}, {"a": 2}]\n')) == [(1, {"a": 1}), (1, {"a": 2})]


def test_objects_may_span_lines_without_a_list_around_them(tmp_path):
    rows = rows_of(tmp_path / "a.json", '{\n  "a": 1\n}\n{\n  "a": {"b": oops}\n}\n{\n  "a": 3\n}\n')

    assert good(rows) == [(1, {"a": 1}), (7, {"a": 3})] and [line for line, _ in bad(rows)] == [4]


@pytest.mark.parametrize(
    ("whole", "rows"),
    [
        ({"a": ["x", "y"], "b": [1, None]}, [{"a": "x", "b": 1}, {"a": "y", "b": None}]),
        ({"a": {"0": "x", "1": "y"}, "b": {"0": 1, "1": 2}}, [{"a": "x", "b": 1}, {"a": "y", "b": 2}]),
        ({"version": 1, "data": [{"a": "x"}]}, [{"a": "x"}]),
        ({"instruction": "q", "output": "a"}, None),
        ({"id": "1", "conversations": [{"from": "human", "value": "q"}]}, None),
        ({"conversations": [{"from": "human", "value": "q"}]}, None),
        ({"a": ["x"], "b": ["x", "y"]}, None),
        ({}, None),
    ],
)
def test_one_object_may_be_a_whole_set_of_rows(tmp_path, whole, rows):
    assert rows_in_object(whole) == rows
    assert [r.value for r in rows_of(tmp_path / "a.json", json.dumps(whole))] == (rows if rows is not None else [whole])
    assert [r.value for r in rows_of(tmp_path / "b.json", json.dumps(whole, indent=2))] == (rows if rows is not None else [whole])
    assert [r.value for r in rows_of(tmp_path / "a.jsonl", json.dumps(whole))] == [whole]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8"), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=150, deadline=None)
@given(
    values=st.lists(VALUES, min_size=1, max_size=8),
    indent=st.sampled_from([None, 0, 2]),
    ascii_only=st.booleans(),
    window=st.integers(1, 64),
)
def test_a_list_read_through_a_small_window_is_what_json_reads(values, indent, ascii_only, window):
    text = json.dumps(values, indent=indent, ensure_ascii=ascii_only)
    stream = json_stream.JsonStream(_Slowly(text[window:]), text[:window], 1)
    before, json_stream.WINDOW = json_stream.WINDOW, window
    try:
        rows = list(stream.rows())
    finally:
        json_stream.WINDOW = before

    assert [r.value for r in rows] == values and all(r.error is None for r in rows)
    assert all(a.line <= b.line for a, b in pairwise(rows))


class _Slowly:
    """A stream that gives what is asked for."""

    def __init__(self, text):
        self.text = text

    def read(self, size):
        part, self.text = self.text[:size], self.text[size:]
        return part


@pytest.mark.parametrize("indent", [None, 0, 2])
def test_one_damaged_place_in_a_list_costs_the_rows_around_it(tmp_path, indent):
    values = [{"id": n, "turns": [{"from": "human", "value": f"q{n} ไทย"}, {"from": "gpt", "value": "a, {b}"}]} for n in range(30)]
    content = json.dumps(values, indent=indent, ensure_ascii=False).encode()
    draw = random.Random(0)
    for _ in range(150):
        place = draw.randrange(1, len(content) - 1)
        broken = (
            content[:place] + draw.choice([b"", b'"', b"}", b"]", b"\xff", b"\x00", b"{", b"\\"]) + content[place + draw.randrange(3) :]
        )
        rows = rows_of(tmp_path / "a.json", broken)

        whole = [r.value for r in rows if r.error is None and r.value in values]
        # A bracket too many ends the list for the reader; it says so.
        ended = any("after the end of the list" in r.error for r in rows if r.error)
        assert len(whole) >= 27 or ended, (place, broken[place - 20 : place + 20])
        assert whole == sorted(whole, key=lambda value: value["id"])
