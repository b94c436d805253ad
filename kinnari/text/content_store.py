"""What was asked and answered, on disk, found by its content: one SQLite file, shared by any number of processes and runs.

    entries(key, maker, value)     key = BLAKE2b(maker, question); value: any JSON, floats to the last bit

SQLite's own locks keep writers apart, on local disks and on network disks with working locks; what is saved survives a kill.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kinnari.errors import ConfigError

_TABLE = "CREATE TABLE IF NOT EXISTS entries (key BLOB PRIMARY KEY, maker TEXT NOT NULL, value TEXT NOT NULL) WITHOUT ROWID"
_AT_ONCE = 900  # keys of one SELECT; builds of SQLite before 3.32 allow 999
_PATIENCE_S = 120.0  # for another process that is writing


def content_key(maker: str, question: Any) -> bytes:
    """16 bytes.

    Args:
        maker: who answers: a model with all that shapes its answers.
        question: plain values; everything else the answer depends on.
    """
    asked = json.dumps([maker, question], sort_keys=True, ensure_ascii=True)
    return hashlib.blake2b(asked.encode(), digest_size=16).digest()


class ContentStore:
    """Reading and writing; every call opens the file for itself, so that threads and forked processes may share an object.

    Args:
        path: of the file; made with its folders where it is missing.
        option: the setting that names the file, for errors.

    Raises:
        ConfigError: the file cannot be made, or is no store; by every method.
    """

    def __init__(self, path: Path | str, option: str = "cache") -> None:
        self.path, self.option = Path(path).expanduser(), option
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{option}={path} cannot be made ({error}). Give a file in a folder you may write to.") from error
        with self._open() as database:
            database.execute(_TABLE)

    def find(self, keys: Sequence[bytes]) -> dict[bytes, Any]:
        """The values of those keys that have one."""
        found: dict[bytes, Any] = {}
        with self._open() as database:
            for start in range(0, len(keys), _AT_ONCE):
                some = keys[start : start + _AT_ONCE]
                marks = ",".join("?" * len(some))
                rows = database.execute(f"SELECT key, value FROM entries WHERE key IN ({marks})", some)
                found |= {key: json.loads(value) for key, value in rows}
        return found

    def save(self, maker: str, rows: Sequence[tuple[bytes, Any]]) -> None:
        """Keep (key, value) rows, all or none; on return they are on the disk."""
        texts = [(key, maker, json.dumps(value, ensure_ascii=True)) for key, value in rows]
        with self._open() as database:
            database.execute("BEGIN IMMEDIATE")  # readers that turn writers halfway could block each other for good
            database.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", texts)
            database.execute("COMMIT")

    def makers(self) -> dict[str, int]:
        """Who has answered how often."""
        with self._open() as database:
            return dict(database.execute("SELECT maker, count(*) FROM entries GROUP BY maker ORDER BY maker"))

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            database = sqlite3.connect(self.path, timeout=_PATIENCE_S, isolation_level=None)
            try:
                yield database
            finally:
                database.close()  # an open transaction is rolled back
        except sqlite3.DatabaseError as error:
            raise ConfigError(
                f"{self.option}={self.path} cannot be used ({error}). Give another file, or free the disk; a file that is damaged or holds "
                "something else may be moved away, its contents are then asked for again."
            ) from error
