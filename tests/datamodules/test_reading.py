"""Damaged files: the bad row is named with its line, the rest goes on."""

import json

import pytest

from datamodules.reading import read_rows
from kinnari.errors import ConfigError


def rows_of(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [row for _, row in read_rows(str(path))]


def test_json_lines_and_a_json_list_give_the_same_rows(tmp_path):
    values = [{"a": "ไทย"}, {"a": "한국어 中文"}]
    lines = rows_of(tmp_path / "a.jsonl", "\n".join(json.dumps(v) for v in values))
    listed = rows_of(tmp_path / "a.json", json.dumps(values, ensure_ascii=False, indent=1))

    assert [r.value for r in lines] == [r.value for r in listed] == values
    assert [r.line for r in lines] == [1, 2]


def test_a_broken_line_is_reported_with_its_place_and_the_next_goes_on(tmp_path):
    rows = rows_of(tmp_path / "a.jsonl", '{"a": 1}\n{"a": \n\n{"a": 3}\n')

    assert [(r.line, r.value) for r in rows if r.error is None] == [(1, {"a": 1}), (4, {"a": 3})]
    (bad,) = (r for r in rows if r.error)
    assert bad.line == 2 and "broken JSON" in bad.error


def test_a_broken_element_of_a_list_does_not_take_the_rest_with_it(tmp_path):
    rows = rows_of(tmp_path / "a.json", '[\n{"a": 1},\n{"a": oops},\n{"a": 3}\n]')

    assert [(r.line, r.value) for r in rows if r.error is None] == [(2, {"a": 1}), (4, {"a": 3})]
    (bad,) = (r for r in rows if r.error)
    assert bad.line == 3 and "line 3, column 7" in bad.error


def test_a_list_that_was_cut_off_keeps_its_whole_rows(tmp_path):
    rows = rows_of(tmp_path / "a.json", '[{"a": 1},\n{"a": 2},\n{"a": "thr')

    assert [r.value for r in rows if r.error is None] == [{"a": 1}, {"a": 2}]
    assert [r.line for r in rows if r.error] == [3, 3]
    assert "cut off" in rows[-1].error


def test_bytes_that_are_not_utf8_reject_only_their_row(tmp_path):
    rows = rows_of(tmp_path / "a.jsonl", b'{"a": "ok"}\n{"a": "\xff\xfe"}\n{"a": "fine"}')

    assert [r.value for r in rows if r.error is None] == [{"a": "ok"}, {"a": "fine"}]
    assert [(r.line, r.error) for r in rows if r.error] == [(2, "the row holds bytes that are not UTF-8")]


def test_a_byte_order_mark_is_no_error(tmp_path):
    assert rows_of(tmp_path / "a.json", b'\xef\xbb\xbf[{"a": 1}]')[0].value == {"a": 1}


def test_line_separators_inside_strings_do_not_end_a_row(tmp_path):
    assert rows_of(tmp_path / "a.jsonl", '{"a": "one\u2028two"}')[0].value == {"a": "one\u2028two"}


def test_an_empty_and_a_missing_file_are_the_users_to_mend(tmp_path):
    with pytest.raises(ConfigError, match="is empty"):
        rows_of(tmp_path / "a.json", "  \n")
    with pytest.raises(ConfigError, match=r"does not exist.*data.<name>.path"):
        list(read_rows(tmp_path / "none.json"))
