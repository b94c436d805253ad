"""A stage is made once, found again only while everything that shaped it is the same, and made again when it is damaged."""

import errno
import os
import threading
import time
from pathlib import Path

import pytest

from kinnari.errors import ConfigError, RunStopped
from kinnari.preparation import store
from kinnari.preparation.store import Store, default_root


def writes(content: str):
    def build(folder: Path) -> None:
        (folder / "data.txt").write_text(content)

    return build


def never(folder: Path) -> None:
    raise AssertionError("this stage was there already")


def test_the_second_time_nothing_is_done(tmp_path):
    first = Store(tmp_path).entry("read", {"x": 1}, writes("one"))
    again = Store(tmp_path).entry("read", {"x": 1}, never)

    assert (first.found, again.found) == (False, True) and first.folder == again.folder and first.key == again.key
    assert (again.folder / "data.txt").read_text() == "one"


def test_another_ingredient_or_stage_is_another_entry(tmp_path):
    stages = Store(tmp_path)
    keys = {stages.entry(stage, values, writes("x")).key for stage, values in [("a", {"x": 1}), ("a", {"x": 2}), ("b", {"x": 1})]}
    assert len(keys) == 3


@pytest.mark.parametrize("damage", ["truncate", "flip", "delete", "manifest"])
def test_a_damaged_entry_is_made_again(tmp_path, damage):
    entry = Store(tmp_path).entry("read", {"x": 1}, writes("abcdef"))
    file = entry.folder / "data.txt"
    if damage == "truncate":
        file.write_text("abc")
    elif damage == "flip":
        file.write_text("abcdeX")
    elif damage == "delete":
        file.unlink()
    else:
        (entry.folder / "kinnari_manifest.json").write_text("{")

    again = Store(tmp_path).entry("read", {"x": 1}, writes("abcdef"))
    assert not again.found and (again.folder / "data.txt").read_text() == "abcdef"


def test_checksums_are_computed_again_only_after_a_file_was_written_to(tmp_path, monkeypatch):
    entry = Store(tmp_path).entry("read", {"x": 1}, writes("abcdef"))
    old = time.time() - 60
    for file in entry.folder.iterdir():
        os.utime(file, (old, old))
    assert Store(tmp_path).entry("read", {"x": 1}, never).found
    with monkeypatch.context() as patch:
        patch.setattr(store, "damage_of", lambda folder: pytest.fail("nothing was written since"))
        assert Store(tmp_path).entry("read", {"x": 1}, never).found
    (entry.folder / "data.txt").write_text("abcdeX")
    assert not Store(tmp_path).entry("read", {"x": 1}, writes("abcdef")).found


def test_an_interrupted_stage_leaves_nothing_that_could_be_found(tmp_path):
    def dies(folder: Path) -> None:
        (folder / "data.txt").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Store(tmp_path).entry("read", {"x": 1}, dies)
    assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == []
    assert not Store(tmp_path).entry("read", {"x": 1}, writes("whole")).found


def test_of_two_at_once_one_makes_it_and_the_other_waits(tmp_path):
    made = []

    def slow(folder: Path) -> None:
        made.append(folder)
        time.sleep(0.2)
        (folder / "data.txt").write_text("x")

    threads = [threading.Thread(target=lambda: Store(tmp_path).entry("read", {"x": 1}, slow)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1


def killed(folder: Path) -> None:
    """What a build leaves that had no time to tidy up."""
    left = folder.parent / f"{folder.name}x"
    left.mkdir()
    (left / "data.txt").write_text("half")
    raise KeyboardInterrupt


def test_what_a_killed_process_left_is_taken_away_by_the_next(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        Store(tmp_path).entry("read", {"x": 1}, killed)
    assert len([p for p in tmp_path.iterdir() if p.is_dir()]) == 1

    entry = Store(tmp_path).entry("read", {"x": 1}, writes("whole"))
    assert [p for p in tmp_path.iterdir() if p.is_dir()] == [entry.folder]


class Forbidden:
    """The lock of a folder that belongs to someone else."""

    def __init__(self, path: str) -> None:
        self.path = path

    def acquire(self, timeout: float = 0.0) -> None:
        raise OSError(errno.EROFS, "Read-only file system", self.path)


def test_a_folder_that_cannot_be_written_to_is_read(tmp_path, monkeypatch):
    made = Store(tmp_path).entry("read", {"x": 1}, writes("one"))
    monkeypatch.setattr(store, "FileLock", Forbidden)

    found = Store(tmp_path).entry("read", {"x": 1}, never)
    assert found.found and found.folder == made.folder
    with pytest.raises(ConfigError, match=r"cannot be written to \(Read-only file system\), and read-\w+ is not in it.*cache_dir"):
        Store(tmp_path).entry("read", {"x": 2}, never)


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path):
    def fills(folder: Path) -> None:
        (folder / "data.txt").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    for shaped_by in ({"x": 1}, None):
        with pytest.raises(RunStopped, match=r"is full. Free some space, or prepare elsewhere with preparation.cache_dir"):
            Store(tmp_path).entry("read", shaped_by, fills)
    assert [p for p in tmp_path.iterdir() if p.is_dir()] == []


def test_what_has_no_hash_is_made_each_time_and_known_by_its_content(tmp_path):
    first, same, other = (Store(tmp_path).entry("read", None, writes(text)) for text in ("one", "one", "two"))
    assert first.key == same.key != other.key


def test_without_a_folder_everything_goes_with_the_store():
    temporary = Store()
    folder = temporary.entry("read", {"x": 1}, writes("x")).folder
    assert folder.is_dir()
    del temporary
    assert not folder.exists()


def test_the_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("KINNARI_PREPARED", str(tmp_path / "own"))
    assert default_root() == tmp_path / "own"
    monkeypatch.delenv("KINNARI_PREPARED")
    monkeypatch.setenv("KINNARI_CACHE", str(tmp_path))
    assert default_root() == tmp_path / "prepared"
