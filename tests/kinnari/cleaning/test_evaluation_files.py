from __future__ import annotations

import gzip
import json

import pytest

from kinnari.cleaning.evaluation_files import evaluation_texts
from kinnari.errors import ConfigError

ROWS = [{"question": "ทำไม", "choices": ["ก", "ข"], "answer": 1}, {"question": "왜", "choices": [], "answer": 2}, {"other": None}]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("e.json", json.dumps(ROWS)),
        ("e.json", json.dumps({"version": "1", "data": ROWS})),
        ("e.jsonl", "\n".join(json.dumps(r, ensure_ascii=False) for r in ROWS) + "\n\n"),
    ],
)
def test_json_in_its_forms(tmp_path, name, content):
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert evaluation_texts(str(tmp_path / name), ["question"]) == ["ทำไม", "왜", ""]
    assert evaluation_texts(str(tmp_path / name), ["question", "choices"]) == ["ทำไม\nก\nข", "왜", ""]
    assert evaluation_texts(str(tmp_path / name), []) == ["ทำไม\nก\nข", "왜", ""]


def test_tables_and_lines(tmp_path):
    (tmp_path / "e.csv").write_text('\ufeffq,a\n"一,\n二",三\n', encoding="utf-8")
    (tmp_path / "e.tsv").write_text("q\ta\n一\t二\n", encoding="utf-8")
    (tmp_path / "e.txt").write_text("一\n二", encoding="utf-8")
    assert evaluation_texts(str(tmp_path / "e.csv"), ["q"]) == ["一,\n二"]
    assert evaluation_texts(str(tmp_path / "e.tsv"), ["a"]) == ["二"]
    assert evaluation_texts(str(tmp_path / "e.txt"), []) == ["一", "二"]


def test_compressed_files(tmp_path):
    (tmp_path / "e.jsonl.gz").write_bytes(gzip.compress(b'{"q": "x"}'))
    assert evaluation_texts(str(tmp_path / "e.jsonl.gz"), ["q"]) == ["x"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("e.json", b"{", "cannot be read"),
        ("e.jsonl", b'{"q": "\xff"}', "cannot be read"),
        ("e.jsonl.gz", b"no gzip", "cannot be read"),
        ("e.jsonl", b'{"q": "x"}', "its columns: q"),
        ("e.pkl", b"", "must end in"),
        ("e.json", b"[" * 100_000, "cannot be read"),
    ],
)
def test_files_that_cannot_be_used_are_refused_with_the_reason(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=says):
        evaluation_texts(str(tmp_path / name), ["question"])


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        evaluation_texts(str(tmp_path / "none.json"), [])
