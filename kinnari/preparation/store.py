"""Finished stages on disk: whole or absent, found by a hash of everything that shaped them, made once by whoever comes first.

    <root>/read-3f9c2a.../      conversations.arrow  rejects.jsonl  counts.json  kinnari_manifest.json
    <root>/clean-81b0d4.../     ...

Nothing in it is needed: a folder that was deleted or damaged is made again.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from kinnari.errors import ConfigError, RunStopped
from kinnari.models.cache import MANIFEST, cache_root, damage_of, file_sha256, write_manifest
from kinnari.preparation.fingerprints import digest

log = logging.getLogger(__name__)

FORMAT = 1  # raised when what a stage writes is laid out differently
COUNTS = "counts.json"
KEY_LENGTH = 24
PATIENCE_S = 3.0
SETTLED_NS = 2_000_000_000
FULL = (errno.ENOSPC, errno.EDQUOT)
UNWRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.EEXIST, errno.ENOTDIR)


@dataclass(frozen=True)
class Entry:
    """A finished stage: its folder, the hash that later stages build on, and whether it was found rather than made."""

    folder: Path
    key: str
    found: bool

    def counts(self) -> dict[str, Any]:
        """What the stage counted."""
        return json.loads((self.folder / COUNTS).read_text(encoding="utf-8"))


def default_root() -> Path:
    """`$KINNARI_PREPARED`, else `$KINNARI_CACHE/prepared`, else `~/.cache/kinnari/prepared`."""
    if "KINNARI_PREPARED" in os.environ:
        return Path(os.environ["KINNARI_PREPARED"])
    root = cache_root()
    return (root if "KINNARI_CACHE" in os.environ else root.parent) / "prepared"


class Store:
    """A folder of finished stages.

    Args:
        root: where; None is a temporary folder that goes with this object.
    """

    def __init__(self, root: Path | None = None) -> None:
        self._temporary = None if root else tempfile.TemporaryDirectory(prefix="kinnari-prepared-", ignore_cleanup_errors=True)
        self.root = Path(root).expanduser().resolve() if root else Path(str(self._temporary and self._temporary.name))

    def entry(self, stage: str, shaped_by: Mapping[str, Any] | None, build: Callable[[Path], None]) -> Entry:
        """The stage's folder, made by `build(empty folder)` unless it is there already and undamaged.

        Args:
            shaped_by: plain values; None if something has no hash: then the stage is made anew, and known by what it wrote.

        Raises:
            ConfigError: the stage is not there and the folder cannot be written to.
            RunStopped: the disk is full.
        """
        try:
            if shaped_by is None:
                return self._by_content(stage, build)
            key = digest({"format": FORMAT, "stage": stage, **shaped_by})
            return self._by_key(self.root / f"{stage}-{key[:KEY_LENGTH]}", key, build)
        except OSError as problem:
            if problem.errno not in FULL:
                raise
            raise RunStopped(
                f"The disk of {self.root} is full. Free some space, or prepare elsewhere with preparation.cache_dir=FOLDER; what was "
                "finished is kept, and the same command goes on from there."
            ) from problem

    def _by_key(self, target: Path, key: str, build: Callable[[Path], None]) -> Entry:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            turn = _Turn(target)
            turn.begin()
        except OSError as problem:
            if problem.errno not in UNWRITABLE:
                raise
            return self._only_read(target, key, problem)
        with turn:
            for left in self.root.glob(f".{target.name}.*"):  # by a process that was killed; this one alone works on the stage now
                shutil.rmtree(left, ignore_errors=True)
            if target.exists():
                damage = _damage(target)
                if damage is None:
                    return Entry(target, key, found=True)
                log.warning("Preparing %s again: %s.", target, damage)
                shutil.rmtree(target)
            self._make(build, target)
        return Entry(target, key, found=False)

    def _only_read(self, target: Path, key: str, problem: OSError) -> Entry:
        """The stage out of a folder that belongs to someone else."""
        if target.exists() and _damage(target) is None:
            return Entry(target, key, found=True)
        raise ConfigError(
            f"{self.root} cannot be written to ({problem.strerror}), and {target.name} is not in it. Choose another folder with "
            "preparation.cache_dir=FOLDER, or keep nothing with preparation.cache=false."
        ) from problem

    def _by_content(self, stage: str, build: Callable[[Path], None]) -> Entry:
        self.root.mkdir(parents=True, exist_ok=True)
        made = self.root / f"{stage}-new-{os.getpid()}-{os.urandom(4).hex()}"
        self._make(build, made)
        files = sorted(file for file in made.rglob("*") if file.is_file() and file.name != MANIFEST)
        key = digest({"format": FORMAT, "stage": stage, "content": [[file.name, file_sha256(file)] for file in files]})
        target = self.root / f"{stage}-{key[:KEY_LENGTH]}"
        with _Turn(target):
            if target.exists() and damage_of(target) is None:
                shutil.rmtree(made)
                return Entry(target, key, found=True)
            shutil.rmtree(target, ignore_errors=True)
            os.replace(made, target)
        return Entry(target, key, found=False)

    def _make(self, build: Callable[[Path], None], target: Path) -> None:
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=self.root))
        try:
            build(work)
            write_manifest(work)
            work.chmod(0o755)  # mkdtemp's 0700 would hide a shared cache from others
            os.replace(work, target)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _damage(target: Path) -> str | None:
    """What is wrong with a stage, or None; checksums are computed again only for files written to since they last were right.

    Two seconds must lie between the last writing and the check that found it right: clocks of file systems are coarse.
    """
    seal = target.with_name(f"{target.name}.checked")
    files = sorted(file for file in target.rglob("*") if file.is_file())
    state = [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    try:
        checked_ns, checked = json.loads(seal.read_text(encoding="utf-8"))
        if checked == state and all(written_ns < checked_ns - SETTLED_NS for *_, written_ns in state):
            return None
    except (OSError, ValueError, TypeError):
        pass
    damage = damage_of(target)
    if damage is None:
        with suppress(OSError):  # the folder may be someone else's
            seal.write_text(json.dumps([time.time_ns(), state]), encoding="utf-8")
    return damage


class _Turn:
    """One process at a time makes a stage; the others wait, and say so when it takes long."""

    def __init__(self, target: Path) -> None:
        self._lock = FileLock(f"{target}.lock")
        self._target = target

    def begin(self) -> None:
        """Wait for the turn; `with` ends it, and waits as well if it has not begun."""
        try:
            self._lock.acquire(timeout=PATIENCE_S)
        except Timeout:
            log.info("another process is preparing %s; waiting for it", self._target.name)
            self._lock.acquire()

    def __enter__(self) -> None:
        if not self._lock.is_locked:
            self.begin()

    def __exit__(self, *problem: object) -> None:
        self._lock.release()
