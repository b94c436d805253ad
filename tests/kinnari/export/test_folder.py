"""Folders are whole or absent, and every file in them is listed with its checksum."""

import hashlib

import pytest

from kinnari.errors import ConfigError
from kinnari.export.folder import file_list, written_whole


def fill(work):
    (work / "config.json").write_text("{}")


def test_a_failed_export_leaves_nothing_behind(tmp_path):
    def fail(work):
        fill(work)
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        written_whole(tmp_path / "model", fail)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_export_leaves_the_model_before_as_it_was(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("old")

    def fail(work):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        written_whole(tmp_path / "model", fail)
    assert [p.name for p in tmp_path.iterdir()] == ["model"] and (tmp_path / "model" / "config.json").read_text() == "old"


def test_leftovers_of_a_killed_export_do_not_get_in(tmp_path):
    (tmp_path / "model.tmp").mkdir()
    (tmp_path / "model.tmp" / "old.safetensors").write_text("half")
    assert [p.name for p in written_whole(tmp_path / "model", fill).iterdir()] == ["config.json"]


def test_a_folder_of_other_things_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("years")
    with pytest.raises(ConfigError, match="not overwritten"):
        written_whole(tmp_path, fill)


def test_files_are_listed_with_size_and_checksum(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x.txt").write_bytes(b"abc")
    (tmp_path / "other.txt").write_bytes(b"not asked for")
    assert file_list(tmp_path, [tmp_path / "a"]) == [{"path": "a/b/x.txt", "bytes": 3, "sha256": hashlib.sha256(b"abc").hexdigest()}]
