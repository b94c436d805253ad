"""What `read_rows` takes: files of every kind, packed or not, folders, names of the hub; and what it says where there is nothing."""

import bz2
import gzip
import json
import lzma
import tracemalloc

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datamodules.reading import Row, data_files, is_hub_name, read_rows, shown
from kinnari.errors import ConfigError

VALUES = [{"a": "ไทย", "b": "1"}, {"a": "한국어, 中文\n", "b": "2"}]


def rows_of(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [row for _, row in read_rows(str(path))]


def lines_of(values):
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)


def test_every_kind_of_file_gives_the_same_rows(tmp_path):
    table = 'a,b\nไทย,1\n"한국어, 中文\n",2\n'
    pq.write_table(pa.Table.from_pylist(VALUES), tmp_path / "a.parquet")
    datasets.Dataset.from_list(VALUES).save_to_disk(tmp_path / "saved")

    assert [r.value for r in rows_of(tmp_path / "a.jsonl", lines_of(VALUES))] == VALUES
    assert [r.value for r in rows_of(tmp_path / "a.NDJSON", lines_of(VALUES))] == VALUES
    assert [r.value for r in rows_of(tmp_path / "a.json", json.dumps(VALUES))] == VALUES
    assert [r.value for r in rows_of(tmp_path / "a.csv", table)] == VALUES
    assert [r.value for r in rows_of(tmp_path / "a.tsv", table.replace(",1", "\t1").replace("a,b", "a\tb").replace('",', '"\t'))] == VALUES
    assert [r.value for _, r in read_rows(tmp_path / "a.parquet")] == VALUES
    assert [r.value for _, r in read_rows(tmp_path / "saved")] == VALUES


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)])
def test_packed_files_are_unpacked_on_the_way(tmp_path, suffix, pack):
    rows = rows_of(tmp_path / f"a.jsonl{suffix}", pack(lines_of(VALUES).encode()))

    assert [r.value for r in rows] == VALUES


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)])
def test_a_packed_file_that_was_cut_off_says_so_and_loses_no_more_than_its_end(tmp_path, suffix, pack):
    packed = pack(lines_of({"n": n, "text": f"{n * 7919 % 10007}"} for n in range(30_000)).encode())
    rows = rows_of(tmp_path / f"a.jsonl{suffix}", packed[: len(packed) * 3 // 4])

    assert "packed file is damaged" in rows[-1].error
    whole = [r.value["n"] for r in rows if r.error is None]
    assert whole == list(range(len(whole))) and (suffix == ".bz2" or len(whole) > 15_000)


def test_a_folder_is_all_its_data_files_in_order(tmp_path):
    for name in ("b.jsonl", "a.csv", "LICENSE.txt", "README.md", ".hidden.jsonl", "dataset_info.json", "deep/c.json", ".git/d.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('{"a": 1}')

    assert [f.relative_to(tmp_path).as_posix() for f in data_files(tmp_path)] == ["a.csv", "b.jsonl", "deep/c.json"]


def test_text_files_of_a_folder_count_where_there_is_nothing_else(tmp_path):
    (tmp_path / "b.txt").write_text("one\n\ntwo\u2028still two\r\n")

    assert [r for _, r in read_rows(tmp_path)] == [Row(1, "one"), Row(2, ""), Row(3, "two\u2028still two")]


def test_nothing_to_read_is_the_users_to_mend(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="is empty"):
        rows_of(tmp_path / "a.json", "  \n" * 10_000)
    with pytest.raises(ConfigError, match=r"does not exist.*data.<name>.path"):
        list(read_rows(tmp_path / "none.json"))
    with pytest.raises(ConfigError, match="without data files"):
        list(read_rows(tmp_path / "empty"))
    with pytest.raises(ConfigError, match=r"ends in '\.xlsx'"):
        rows_of(tmp_path / "a.xlsx", "PK")
    with pytest.raises(ConfigError, match="cannot be read as a parquet file"):
        rows_of(tmp_path / "a.parquet", "PAR1 no")
    with pytest.raises(ConfigError, match="packed within"):
        rows_of(tmp_path / "a.parquet.gz", b"x")


def test_a_file_of_another_ending_is_json_if_it_looks_like_it(tmp_path):
    assert rows_of(tmp_path / "rows", '{"a": 1}')[0].value == {"a": 1}


@pytest.mark.parametrize("bom", [b"\xff\xfe", b"\xfe\xff"])
def test_utf16_is_known_by_its_byte_order_mark(tmp_path, bom):
    encoding = "utf-16-le" if bom == b"\xff\xfe" else "utf-16-be"
    rows = rows_of(tmp_path / "a.jsonl", bom + lines_of(VALUES).encode(encoding) + b"\x00")

    assert [r.value for r in rows[:2]] == VALUES and all(r.error for r in rows[2:])


def test_a_name_with_an_owner_is_a_dataset_of_the_hub(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "here/file").write_text("{}")
    monkeypatch.chdir(tmp_path)

    assert is_hub_name("yahma/alpaca-cleaned") and data_files("yahma/alpaca-cleaned") == []
    assert not any(map(is_hub_name, ["here/file", "folder/rows.jsonl", "a/b/c", "/root/x", "./x/y", "rows.json"]))


def test_rows_of_the_hub_are_streamed_with_split_and_subset(monkeypatch):
    asked = {}

    def load(name, subset, **options):
        asked.update(options, name=name, subset=subset)
        return datasets.Dataset.from_list(VALUES).to_iterable_dataset()

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert list(read_rows("owner/name", "test", "th")) == [("owner/name", Row(i + 1, value)) for i, value in enumerate(VALUES)]
    assert asked == {"name": "owner/name", "subset": "th", "split": "test", "streaming": True}


def test_a_hub_out_of_reach_says_where_files_may_be_put(monkeypatch):
    def load(*_, **__):
        raise ConnectionError("Couldn't reach the hub")

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(ConfigError, match=r"ConnectionError: Couldn't reach.*put the files into a folder and set data.<name>.path=FOLDER"):
        list(read_rows("owner/name"))


@pytest.mark.parametrize("layout", ["lines", "list"])
def test_memory_does_not_grow_with_the_file(tmp_path, layout):
    path = tmp_path / "a.json"
    rows = [json.dumps({"n": n, "text": "สวัสดี " * 30}, ensure_ascii=False) for n in range(40_000)]
    path.write_text("\n".join(rows) if layout == "lines" else "[" + ", ".join(rows) + "]", encoding="utf-8")
    del rows

    tracemalloc.start()
    count = sum(1 for _ in read_rows(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 40_000 and path.stat().st_size > 20e6 and peak < 12e6


def test_a_rejected_row_is_kept_whole_if_short_and_always_as_json():
    assert shown({"a": ["ไทย"]}) == {"a": ["ไทย"]}
    assert shown({"a": "x" * 5000}) == '{"a": "' + "x" * 193
    assert shown({"a": b"bytes"}) == '{"a": "b\'bytes\'"}'
    json.dumps(shown("\ud800")).encode()
