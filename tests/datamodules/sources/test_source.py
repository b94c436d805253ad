"""What every source of files does with its rows."""

import json

import pytest

from datamodules.sources import Alpaca, ChinesePoetry, ClassicalModern, Source
from kinnari.errors import ConfigError
from kinnari.text.conversation import Reject
from tests.datamodules.sources.read_source import read


def test_rejects_say_where_and_what_but_not_all_of_it(tmp_path):
    good, bad, huge = read(tmp_path, Alpaca, {"instruction": "a", "output": "b"}, {"a": 1}, {"a": "x" * 100_000})

    assert isinstance(bad, Reject) and (bad.line, bad.row, bad.source, bad.step) == (2, {"a": 1}, "alpaca", "read")
    assert bad.file.endswith("rows.jsonl") and good.record_id == "alpaca:0"
    assert huge.line == 3 and len(huge.row) == 200
    json.dumps([bad.row, huge.row])


def test_records_are_numbered_by_rows_so_that_a_mended_row_renames_no_other(tmp_path):
    records = read(tmp_path, Alpaca, {"a": 1}, {"instruction": "a", "output": "b"})

    assert records[1].record_id == "alpaca:1"


def test_a_source_is_abstract():
    assert Source.__abstractmethods__ == {"files", "read"}


@pytest.mark.parametrize("source", [ChinesePoetry, ClassicalModern])
def test_a_source_that_tells_files_by_their_places_takes_one_folder(source):
    with pytest.raises(ConfigError, match=r"data.\w+.path=\['a', 'b'\] must be one file or folder"):
        source(path=["a", "b"])
