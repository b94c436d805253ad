"""Tables: quoting, headers, rows that do not fit, damaged files."""

import csv

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datamodules.reading import read_rows, tables
from kinnari.errors import ConfigError


def rows_of(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [row for _, row in read_rows(str(path))]


def test_quoted_fields_hold_commas_quotes_and_line_ends_and_lines_count_on(tmp_path):
    rows = rows_of(tmp_path / "a.csv", '\ufeffQ,A\r\n"one\r\ntwo","a ""b"", c"\r\n\r\nthree,\r\n')

    assert [(r.line, r.value) for r in rows] == [(2, {"Q": "one\r\ntwo", "A": 'a "b", c'}), (5, {"Q": "three", "A": ""})]


def test_a_row_with_other_fields_than_the_header_is_rejected_alone(tmp_path):
    rows = rows_of(tmp_path / "a.csv", "Q,A\n1,2\n1,2,3\n1\n3,4\n")

    assert [r.value for r in rows if not r.error] == [{"Q": "1", "A": "2"}, {"Q": "3", "A": "4"}]
    assert [(r.line, r.error) for r in rows if r.error] == [
        (3, "the row has 3 fields, the header has 2"),
        (4, "the row has 1 fields, the header has 2"),
    ]


def test_semicolons_part_columns_where_the_header_has_no_comma(tmp_path):
    assert rows_of(tmp_path / "a.csv", "Frage;Antwort\nWie viel?;1,5\n")[0].value == {"Frage": "Wie viel?", "Antwort": "1,5"}


@pytest.mark.parametrize(
    ("content", "delimiter"), [("a;b;c, d\n1;2;3\n", ";"), ("a\tb\n1\t2\n", "\t"), ('"x;y;z",b\n1,2\n', ","), ("a\n1\n", ",")]
)
def test_a_csv_is_split_at_what_its_header_has_most_of(tmp_path, content, delimiter):
    header, row = (line.split(delimiter) for line in content.replace('"', "").splitlines())

    assert [r.value for r in rows_of(tmp_path / "a.csv", content)] == [dict(zip(header, row, strict=True))]


def test_spaces_around_the_names_of_columns_are_no_part_of_them(tmp_path):
    assert rows_of(tmp_path / "a.csv", "instruction, output\nq, a\n")[0].value == {"instruction": "q", "output": " a"}


def test_a_column_named_twice_is_the_users_to_mend(tmp_path):
    with pytest.raises(ConfigError, match="names a column twice"):
        rows_of(tmp_path / "a.csv", "Q,Q\n1,2\n")


def test_a_header_with_an_open_quote_is_the_users_to_mend(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "LONGEST_FIELD", 100)
    with pytest.raises(ConfigError, match="no header of a table"):
        rows_of(tmp_path / "a.csv", 'Q,"A\n' + "1,2\n" * 100)
    csv.field_size_limit(1 << 26)


def test_a_field_of_a_megabyte_is_a_field(tmp_path):
    assert len(rows_of(tmp_path / "a.csv", "Q,A\nx," + "y" * 1_000_000 + "\n")[0].value["A"]) == 1_000_000


def test_a_quote_that_is_never_closed_does_not_take_the_file_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "LONGEST_FIELD", 100)
    rows = rows_of(tmp_path / "a.csv", 'Q,A\n1,2\n3,"four\n' + "5,6\n" * 100)

    assert rows[0].value == {"Q": "1", "A": "2"} and "field larger than field limit" in rows[1].error and len(rows) > 50
    csv.field_size_limit(1 << 26)


def test_quotes_in_a_tsv_whose_lines_are_whole_are_text(tmp_path):
    rows = rows_of(tmp_path / "a.tsv", 'Q\tA\n"open\t1\nsaid ""no""\t"closed ""so"""\n')

    assert [r.value for r in rows] == [{"Q": '"open', "A": "1"}, {"Q": 'said ""no""', "A": 'closed "so"'}]


def test_a_tsv_with_line_ends_in_quotes_is_read_as_quoted(tmp_path):
    assert [r.value for r in rows_of(tmp_path / "a.tsv", 'Q\tA\n"one\ntwo"\t1\n')] == [{"Q": "one\ntwo", "A": "1"}]


def test_bytes_that_are_not_utf8_reject_only_their_row(tmp_path):
    rows = rows_of(tmp_path / "a.csv", b"Q,A\n1,\xff\n3,\x00\n")

    assert [r.error for r in rows] == ["the row holds bytes that are not UTF-8", None] and rows[1].value == {"Q": "3", "A": "\x00"}


def test_parquet_rows_are_numbered_and_keep_numbers_and_nulls(tmp_path):
    pq.write_table(pa.table({"Q": ["x", None] * 500, "n": range(1000)}), tmp_path / "a.parquet", row_group_size=100)
    rows = [row for _, row in read_rows(tmp_path / "a.parquet")]

    assert [(r.line, r.value) for r in rows[:2]] == [(1, {"Q": "x", "n": 0}), (2, {"Q": None, "n": 1})]
    assert [r.value["n"] for r in rows] == list(range(1000))


def test_a_parquet_file_damaged_inside_keeps_the_rows_before(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"Q": [f"{n * 7919 % 10007}" for n in range(3000)]}), path, row_group_size=256, use_dictionary=False)
    content = bytearray(path.read_bytes())
    for place in range(len(content) // 2, len(content) // 2 + 200):
        content[place] = 255
    rows = rows_of(path, bytes(content))

    # Parquet has no checksum over its values by default: what still decodes is data.
    assert len(rows) >= 256 and rows[0].value == {"Q": "0"}


@pytest.mark.parametrize("write", ["stream", "file"])
def test_arrow_files_of_both_kinds_are_read(tmp_path, write):
    table = pa.table({"Q": ["ก", "ข"]})
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink:
        writer = pa.ipc.new_stream(sink, table.schema) if write == "stream" else pa.ipc.new_file(sink, table.schema)
        with writer:
            writer.write_table(table)

    assert [row.value for _, row in read_rows(tmp_path / "a.arrow")] == [{"Q": "ก"}, {"Q": "ข"}]
