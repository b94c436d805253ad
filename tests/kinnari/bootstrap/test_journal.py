"""The journal: whole lines or none, one set of settings, one writer."""

from __future__ import annotations

import json

import pytest

from kinnari.bootstrap.journal import Journal, append_rows, replace_rows, sole_writer
from kinnari.errors import ConfigError

SETTINGS = {"style": "alpaca", "numbers": (1, 2)}
ENTRIES = [{"kind": "request", "request_idx": i, "text": "ไทย 한국 \x00\n"} for i in range(3)]


def test_entries_come_back_in_order(tmp_path):
    journal = Journal(tmp_path / "new", SETTINGS)
    journal.append(ENTRIES[:1])
    journal.append(ENTRIES[1:])
    again = Journal(tmp_path / "new", SETTINGS)
    assert journal.entries == again.entries == ENTRIES
    assert again.of_kind("request") == ENTRIES and again.of_kind("instances") == []


def test_wherever_a_write_was_torn_whole_entries_remain(tmp_path):
    Journal(tmp_path, SETTINGS).append(ENTRIES)
    path = tmp_path / "journal.jsonl"
    content = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(content) if byte == 10]
    for cut in range(ends[0], len(content)):
        path.write_bytes(content[:cut])
        journal = Journal(tmp_path, SETTINGS)
        assert journal.entries == ENTRIES[: sum(end <= cut for end in ends) - 1]
        journal.append([{"kind": "after"}])
        assert Journal(tmp_path, SETTINGS).entries[-1] == {"kind": "after"}


def test_a_torn_head_is_written_again(tmp_path):
    (tmp_path / "journal.jsonl").write_bytes(b'{"kind": "he')
    assert Journal(tmp_path, SETTINGS).entries == []
    assert Journal(tmp_path, SETTINGS).entries == []


def test_other_settings_are_refused_by_name(tmp_path):
    Journal(tmp_path, SETTINGS)
    with pytest.raises(ConfigError, match="style differ"):
        Journal(tmp_path, {**SETTINGS, "style": "self_instruct"})


@pytest.mark.parametrize("line", ["nonsense", "[]", '{"a": 1}', '{"kind": 1}', "\x00\x00"])
def test_a_foreign_line_is_named(tmp_path, line):
    Journal(tmp_path, SETTINGS).append(ENTRIES[:1])
    with open(tmp_path / "journal.jsonl", "a", encoding="utf-8") as out:
        out.write(line + "\n")
    with pytest.raises(ConfigError, match="line 3"):
        Journal(tmp_path, SETTINGS)


def test_a_replaced_file_is_whole_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "rows.jsonl"
    (tmp_path / "rows.jsonl.tmp").write_text("left by a killed process")
    replace_rows(path, [{"a": 1}])
    append_rows(path, [{"b": "\ud800"}])
    assert [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] == [{"a": 1}, {"b": "?"}]
    assert [file.name for file in tmp_path.iterdir()] == ["rows.jsonl"]


def test_a_folder_has_one_writer_at_a_time(tmp_path):
    with sole_writer(tmp_path), pytest.raises(ConfigError, match="Another process"), sole_writer(tmp_path):
        pass
    with sole_writer(tmp_path):
        pass
