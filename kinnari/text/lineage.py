"""Where data came from, in a form that can be compared between runs."""

from __future__ import annotations

from pathlib import Path

from kinnari.models.cache import file_sha256


def file_lineage(path: Path) -> dict[str, object]:
    """Name, size in bytes and SHA-256 of a data file."""
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": file_sha256(path)}
