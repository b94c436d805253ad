"""Where data came from, in a form that can be compared between runs."""

from __future__ import annotations

import hashlib
from pathlib import Path


def file_lineage(path: Path) -> dict[str, object]:
    """Name, size in bytes and SHA-256 of a data file."""
    with open(path, "rb") as data:
        digest = hashlib.file_digest(data, "sha256").hexdigest()
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": digest}
