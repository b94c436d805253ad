"""Tables are read whole, or the line that is wrong is named."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kinnari.errors import ConfigError
from kinnari.text.tables import need_columns, read_table, write_table

CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00\r"))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.fixed_dictionaries({"คำสั่ง": CELL, "b": CELL}), min_size=1, max_size=4),
    suffix=st.sampled_from([".csv", ".tsv", ".jsonl"]),
)
def test_what_was_written_is_read(tmp_path, rows, suffix):
    write_table(tmp_path / f"t{suffix}", rows)
    assert read_table(tmp_path / f"t{suffix}", "o") == rows


def test_a_spreadsheets_mark_belongs_to_no_column_and_is_written_for_spreadsheets(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbfid,a\r\n1,x\r\n")
    assert read_table(tmp_path / "t.csv", "o") == [{"id": "1", "a": "x"}]
    write_table(tmp_path / "u.csv", [{"id": 1}])
    assert (tmp_path / "u.csv").read_bytes() == b"\xef\xbb\xbfid\r\n1\r\n"


def test_a_list_of_objects_is_a_table(tmp_path):
    (tmp_path / "t.json").write_text('[{"a": 1}]')
    assert read_table(tmp_path / "t.json", "o") == [{"a": 1}]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("t.csv", b"a,b\n1,2\n3\n", "ends in line 3 has more or fewer fields"),
        ("t.csv", b"a,b\n1,2,3\n", "line 2"),
        ("t.csv", b"a,b\n", "no rows"),
        ("t.csv", b"a\n\xff\n", "UTF-8"),
        ("t.jsonl", b'{"a": 1}\n{"a": \n', "line 2 is no JSON"),
        ("t.jsonl", b'{"a": 1}\n\n[1]\n', "line 3 is no object"),
        ("t.json", b'{"a": 1}', "no list"),
        ("t.json", b"[", "json"),
        ("t.xlsx", b"PK", "is no file that can be read"),
    ],
)
def test_what_is_wrong_is_told(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=f"some.option=.*{says}"):
        read_table(tmp_path / name, "some.option")


def test_a_missing_file_and_a_missing_column_are_named(tmp_path):
    with pytest.raises(ConfigError, match="nowhere"):
        read_table(tmp_path / "nowhere.csv", "o")
    with pytest.raises(ConfigError, match="f has no column 'b'; it has 'a', 'c'"):
        need_columns([{"a": 1, "c": 2}], ["a", "b"], "f")
