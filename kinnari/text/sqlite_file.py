"""One SQLite file that any number of threads, processes and runs share.

SQLite's own locks keep writers apart, on local disks and on network disks with working locks; what is committed survives a kill.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kinnari.errors import ConfigError

_AT_ONCE = 900  # keys of one SELECT; builds of SQLite before 3.32 allow 999
_PATIENCE_S = 120.0  # for another process that is writing


class SqliteFile:
    """A file of tables; every call opens it for itself, so that threads and forked processes may share an object.

    Args:
        path: of the file; made with its folders where it is missing.
        tables: the statements that make its tables where they are missing.
        option: the setting that names the file, for errors.
        remedy: what an error says of a file that cannot be used.

    Raises:
        ConfigError: the file cannot be made, or is something else; by every method.
    """

    def __init__(self, path: Path | str, tables: str, option: str, remedy: str) -> None:
        self.path, self.option, self.remedy = Path(path).expanduser(), option, remedy
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{option}={path} cannot be made ({error}). Give a file in a folder you may write to.") from error
        with self.opened() as database:
            database.executescript(tables)

    def rows(self, select: str, keys: Sequence[bytes]) -> Iterator[Any]:
        """Rows of a statement that ends in `IN`, of all keys."""
        with self.opened() as database:
            for start in range(0, len(keys), _AT_ONCE):
                some = keys[start : start + _AT_ONCE]
                yield from database.execute(f"{select} ({','.join('?' * len(some))})", some)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of it or, after an error, nothing; on leaving it is on the disk."""
        with self.opened() as database:
            database.execute("BEGIN IMMEDIATE")  # readers that turn writers halfway could block each other for good
            yield database
            database.execute("COMMIT")

    @contextmanager
    def opened(self) -> Iterator[sqlite3.Connection]:
        """A connection that commits each statement by itself."""
        try:
            database = sqlite3.connect(self.path, timeout=_PATIENCE_S, isolation_level=None)
            try:
                yield database
            finally:
                database.close()  # an open transaction is rolled back
        except sqlite3.DatabaseError as error:
            raise ConfigError(f"{self.option}={self.path} cannot be used ({error}). {self.remedy}") from error
