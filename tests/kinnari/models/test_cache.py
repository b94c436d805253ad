"""A built folder is whole, checked at every use, and built once however many ask."""

import os
import threading
import time

import pytest

from kinnari.models.cache import MANIFEST, built_once, cache_root, damage_of, file_sha256


class CountedBuild:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self, folder) -> None:
        self.count += 1
        (folder / "weights.bin").write_bytes(b"0123456789" * 100)
        (folder / "config.json").write_text("{}")


def test_second_use_does_not_build_again(tmp_path):
    build = CountedBuild()
    folder = built_once(tmp_path / "model", build)
    assert built_once(tmp_path / "model", build) == folder
    assert build.count == 1
    assert damage_of(folder) is None


@pytest.mark.parametrize("damage", ["truncate", "flip", "delete", "manifest_gone", "manifest_torn"])
def test_damage_is_found_and_the_folder_built_again(tmp_path, damage, caplog):
    build = CountedBuild()
    folder = built_once(tmp_path / "model", build)
    weights = folder / "weights.bin"
    content = weights.read_bytes()
    {
        "truncate": lambda: weights.write_bytes(content[:-1]),
        "flip": lambda: weights.write_bytes(b"X" + content[1:]),
        "delete": weights.unlink,
        "manifest_gone": (folder / MANIFEST).unlink,
        "manifest_torn": lambda: (folder / MANIFEST).write_text('{"weights'),
    }[damage]()
    assert damage_of(folder) is not None
    built_once(tmp_path / "model", build)
    assert build.count == 2 and weights.read_bytes() == content
    assert "again" in caplog.text


def test_a_failed_build_leaves_nothing(tmp_path):
    def fail(folder):
        (folder / "half").write_text("half")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        built_once(tmp_path / "model", fail)
    assert [path.name for path in tmp_path.iterdir()] in ([], ["model.lock"])


def test_ranks_that_ask_at_once_build_once(tmp_path):
    build = CountedBuild()
    threads = [threading.Thread(target=built_once, args=(tmp_path / "model", build)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert build.count == 1


def test_files_are_readable_by_other_users(tmp_path):
    folder = built_once(tmp_path / "model", CountedBuild())
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir() if path.name != MANIFEST} == {0o644}
    assert folder.stat().st_mode & 0o777 == 0o755


def test_the_environment_variable_moves_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KINNARI_CACHE", str(tmp_path / "elsewhere"))
    assert cache_root() == tmp_path / "elsewhere"
    assert cache_root(tmp_path) == tmp_path
    monkeypatch.delenv("KINNARI_CACHE")
    assert cache_root().parts[-3:] == (".cache", "kinnari", "models")


def test_a_file_changed_behind_its_time_and_size_has_another_hash(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text("one")
    os.utime(file, (1, 1))
    first = file_sha256(file)
    time.sleep(0.02)  # clocks of file systems are coarse
    file.write_text("two")
    os.utime(file, (1, 1))

    assert file_sha256(file) != first
