"""Files become rows, and what is wrong with one is said with its place."""

from __future__ import annotations

import pytest

from kinnari.errors import ConfigError
from kinnari.evaluation.benchmarks.rows import read_cells, read_json, read_rows

ROWS = [{"sentence": "一", "label": 1}, {"sentence": "二", "label": 0}]


def test_json_lines_a_json_list_and_a_byte_order_mark_are_the_same_rows(write):
    lines = write("a.json", ROWS)
    array = write("b.json", '\n [{"sentence": "一", "label": 1}, {"sentence": "二", "label": 0}]')
    marked = write("c.jsonl", "\ufeff" + lines.read_text("utf-8").replace("\n", "\r\n\r\n"))
    assert [dict(row.value) for row in read_rows(lines)] == ROWS
    assert [[row.value for row in read_rows(path)] for path in (array, marked)] == [ROWS, ROWS]
    assert [row.place for row in read_rows(array)] == [f"{array} item 1", f"{array} item 2"]
    assert [row.number for row in read_rows(marked)] == [1, 3]


def test_csv_keeps_line_breaks_in_cells_and_tsv_keeps_quotation_marks(write):
    table = write("a.csv", '\ufeffq,label\n"two\nlines",A\n\nplain,B\n')
    assert [(row.text("q"), row.number) for row in read_rows(table)] == [("two\nlines", 3), ("plain", 5)]
    tabs = write("a.tsv", 'sentence1\tgold_label\n"엄마, 저 왔어요.\tneutral\n')
    assert read_rows(tabs)[0].text("sentence1") == '"엄마, 저 왔어요.'


@pytest.mark.parametrize(
    ("name", "content", "place"),
    [
        ("a.json", '{"a": 1}\n{"a": \n', "a.json line 2 is no json"),
        ("a.json", '[{"a": 1}, 3]', "a.json item 2 holds 3, where a json object must be"),
        ("a.json", '[{"a": 1}', "a.json is no json"),
        ("a.csv", "q,a\none\n", r"a.csv line 2: 1 cells under 2 columns \(q, a\)"),
        ("a.txt", "x", "must end in .json, .jsonl, .csv, .tsv"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(write, name, content, place):
    with pytest.raises(ConfigError, match=place):
        read_rows(write(name, content))


def test_a_missing_file_and_another_encoding_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.json cannot be read"):
        read_json(tmp_path / "none.json")
    (tmp_path / "gbk.json").write_bytes("中文".encode("gbk"))
    with pytest.raises(ConfigError, match=r"gbk\.json cannot be read.*UTF-8"):
        read_rows(tmp_path / "gbk.json")


def test_columns_are_texts_or_named(write):
    row = read_rows(write("a.json", [{"s": "x", "n": 3, "t": ["a"], "none": None, "flag": True, "bad": ["a", 1]}]))[0]
    assert (row.text("s"), row.text("n"), row.texts("t")) == ("x", "3", ("a",))
    assert (row.key("n"), row.key("none"), row.key("gone"), row.key("flag")) == ("3", None, None, "true")
    for call, message in (
        (lambda: row.text("gone"), "line 1: has no column 'gone'; its columns: s, n, t, none, flag, bad"),
        (lambda: row.text("t"), "column 't' holds .*, where a text must be"),
        (lambda: row.text("flag"), "column 'flag' holds true"),
        (lambda: row.texts("bad"), "where a list of texts must be"),
    ):
        with pytest.raises(ConfigError, match=message):
            call()


def test_cells_of_a_csv_without_header_are_lists(write):
    assert read_cells(write("a.csv", '"a, b",1\n,\nc,2\n')) == [["a, b", "1"], ["c", "2"]]
