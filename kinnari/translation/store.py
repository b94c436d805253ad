"""Translations on disk: one SQLite file, shared by any number of processes and runs.

key = BLAKE2b(engine and settings, source, target, text)
translations(key, text, translation)             what is never asked for again
failures(key, text, source, target, error, attempts)     what the next run tries again
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinnari.text.sqlite_file import SqliteFile

_TABLES = """
CREATE TABLE IF NOT EXISTS translations (key BLOB PRIMARY KEY, text TEXT NOT NULL, translation TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS failures (key BLOB PRIMARY KEY, text TEXT NOT NULL, source TEXT NOT NULL, target TEXT NOT NULL,
                                     error TEXT NOT NULL, attempts INTEGER NOT NULL) WITHOUT ROWID;
"""
_REMEDY = (
    "Give another file, or free the disk; a file that is damaged or no cache of translations may be moved away, its texts are then "
    "translated again."
)


@dataclass(frozen=True)
class Failure:
    """A text that could not be translated, with the number of runs that tried."""

    text: str
    source: str
    target: str
    error: str
    attempts: int


class TranslationStore:
    """Reading and writing; threads and forked processes may share an object.

    Raises:
        ConfigError: the file cannot be made, or is no store.
    """

    def __init__(self, path: Path | str) -> None:
        self._file = SqliteFile(path, _TABLES, "translation.cache", _REMEDY)
        self.path = self._file.path

    def translations(self, keys: Sequence[bytes]) -> dict[bytes, str]:
        """The translations of those keys that have one."""
        return dict(self._file.rows("SELECT key, translation FROM translations WHERE key IN", keys))

    def save(self, rows: Sequence[tuple[bytes, str, str]]) -> None:
        """Keep (key, text, translation) rows; a failure of before is forgotten."""
        with self._file.writing() as database:
            database.executemany("INSERT OR REPLACE INTO translations VALUES (?, ?, ?)", rows)
            database.executemany("DELETE FROM failures WHERE key = ?", [row[:1] for row in rows])

    def save_failures(self, rows: Sequence[tuple[bytes, str, str, str, str]]) -> list[int]:
        """Count one more attempt at each (key, text, source, target, error) row; how many each has had."""
        with self._file.writing() as database:
            database.executemany(
                "INSERT INTO failures VALUES (?, ?, ?, ?, ?, 1) "
                "ON CONFLICT (key) DO UPDATE SET error = excluded.error, attempts = attempts + 1",
                rows,
            )
            return [database.execute("SELECT attempts FROM failures WHERE key = ?", row[:1]).fetchone()[0] for row in rows]

    def failures(self) -> list[Failure]:
        """Everything that has not been translated yet, the most tried first."""
        with self._file.opened() as database:
            rows = database.execute("SELECT text, source, target, error, attempts FROM failures ORDER BY attempts DESC, text").fetchall()
        return [Failure(*row) for row in rows]


class Keys:
    """Keys of the texts of one engine and one pair of languages."""

    def __init__(self, identity: Mapping[str, Any], source: str, target: str) -> None:
        settings = json.dumps([identity, source, target], sort_keys=True, ensure_ascii=True)
        self._begun = hashlib.blake2b(settings.encode() + b"\0", digest_size=16)

    def __call__(self, text: str) -> bytes:
        """16 bytes."""
        digest = self._begun.copy()
        digest.update(text.encode())
        return digest.digest()
