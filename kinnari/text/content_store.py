"""What was asked and answered, on disk, found by its content: one SQLite file, shared by any number of processes and runs.

entries(key, maker, value)     key = BLAKE2b(maker, question); value: any JSON, floats to the last bit
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kinnari.text.sqlite_file import SqliteFile

_TABLE = "CREATE TABLE IF NOT EXISTS entries (key BLOB PRIMARY KEY, maker TEXT NOT NULL, value TEXT NOT NULL) WITHOUT ROWID"
_REMEDY = (
    "Give another file, or free the disk; a file that is damaged or holds something else may be moved away, its contents are then asked "
    "for again."
)


def content_key(maker: str, question: Any) -> bytes:
    """16 bytes.

    Args:
        maker: who answers: a model with all that shapes its answers.
        question: plain values; everything else the answer depends on.
    """
    asked = json.dumps([maker, question], sort_keys=True, ensure_ascii=True)
    return hashlib.blake2b(asked.encode(), digest_size=16).digest()


class ContentStore:
    """Reading and writing; threads and forked processes may share an object.

    Args:
        path: of the file; made with its folders where it is missing.
        option: the setting that names the file, for errors.

    Raises:
        ConfigError: the file cannot be made, or is no store; by every method.
    """

    def __init__(self, path: Path | str, option: str = "cache") -> None:
        self._file = SqliteFile(path, _TABLE, option, _REMEDY)
        self.path = self._file.path

    def find(self, keys: Sequence[bytes]) -> dict[bytes, Any]:
        """The values of those keys that have one."""
        return {key: json.loads(value) for key, value in self._file.rows("SELECT key, value FROM entries WHERE key IN", keys)}

    def save(self, maker: str, rows: Sequence[tuple[bytes, Any]]) -> None:
        """Keep (key, value) rows, all or none; on return they are on the disk."""
        texts = [(key, maker, json.dumps(value, ensure_ascii=True)) for key, value in rows]
        with self._file.writing() as database:
            database.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", texts)

    def makers(self) -> dict[str, int]:
        """Who has answered how often."""
        with self._file.opened() as database:
            return dict(database.execute("SELECT maker, count(*) FROM entries GROUP BY maker ORDER BY maker"))
