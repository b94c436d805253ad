"""What has been asked and answered, on disk before anything is made of it, so that no end of the process loses an answer twice.

    journal.jsonl   {"kind": "head", "settings": {...}}
                    {"kind": "request", "request_idx": 0, "kept": [...], "rejected": [...]}
                    {"kind": "classification", "index": 0, "value": true}
                    {"kind": "instances", "index": 0, "kept": [...], "rejected": [...]}

Lines are appended and flushed to the disk. A line that a killed process left half written is cut off; what it held is asked again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from kinnari.errors import ConfigError

Row = Mapping[str, Any]


def encode_rows(rows: Iterable[Row]) -> bytes:
    """Json lines; lone surrogates, which UTF-8 has no bytes for, become question marks."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8", "replace")


def append_rows(path: Path, rows: Iterable[Row]) -> None:
    """Add lines at the end; on return they are on the disk."""
    with open(path, "ab") as out:
        out.write(encode_rows(rows))
        out.flush()
        os.fsync(out.fileno())


def replace_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write the whole file aside and put it in place, so that it is the old or the new one at any moment."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.unlink(missing_ok=True)
    append_rows(temporary, rows)
    os.replace(temporary, path)


class Journal:
    """The journal of one folder; `entries` are those of earlier processes, and all that `append` adds."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.path = folder / "journal.jsonl"
        self.entries: list[dict[str, Any]] = []
        folder.mkdir(parents=True, exist_ok=True)
        self._cut_torn_line()
        lines = self.path.read_bytes().splitlines() if self.path.exists() else []
        if not lines:
            append_rows(self.path, [{"kind": "head", "settings": settings}])
            return
        head, *self.entries = [self._decode(line, number) for number, line in enumerate(lines, 1)]
        self._check_settings(head.get("settings") or {}, json.loads(json.dumps(settings)))

    def append(self, entries: list[dict[str, Any]]) -> None:
        """Add entries; on return they are on the disk."""
        append_rows(self.path, entries)
        self.entries += entries

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """Entries of one kind, in the order they were written."""
        return [entry for entry in self.entries if entry["kind"] == kind]

    def _cut_torn_line(self) -> None:
        if not self.path.exists():
            return
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with open(self.path, "r+b") as file:
                file.truncate(whole)

    def _decode(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            entry = json.loads(line)
            if isinstance(entry, dict) and isinstance(entry["kind"], str):
                return entry
        except (ValueError, KeyError):
            pass
        raise ConfigError(
            f"{self.path}, line {number} is not one that Kinnari wrote, so the run cannot go on from it. Remove that line and those "
            "behind it, or choose another output_dir."
        )

    def _check_settings(self, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        differing = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        if differing:
            raise ConfigError(
                f"{self.path.parent} holds a bootstrap with other settings ({', '.join(differing)} differ), and one file of "
                "instructions comes from one set of settings. Give the same ones to go on, or another output_dir."
            )


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Hold the folder against a second process, which would ask everything again.

    Raises:
        ConfigError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".bootstrap.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ConfigError(f"Another process is writing to {folder}. Wait for it, end it, or choose another output_dir.") from None
    try:
        yield
    finally:
        lock.release()
