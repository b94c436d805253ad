"""Model folders that are built once and loaded many times: whole or absent, and safe for several ranks at once."""

import functools
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

log = logging.getLogger(__name__)

MANIFEST = "kinnari_manifest.json"


def cache_root(cache: Path | None = None) -> Path:
    """Folder of built models: `cache`, else `$KINNARI_CACHE`, else `~/.cache/kinnari/models`."""
    if cache is not None:
        return Path(cache).expanduser().resolve()
    return Path(os.environ.get("KINNARI_CACHE", "~/.cache/kinnari/models")).expanduser().resolve()


def store_file(name: str) -> Path:
    """A file in `$KINNARI_CACHE`, else in ~/.cache/kinnari, for what was asked and answered: translations, judgements, likelihoods."""
    return Path(os.environ.get("KINNARI_CACHE", "~/.cache/kinnari")).expanduser() / name


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of the bytes of a file, read once per process as long as the file is not written to."""
    status = path.stat()
    # The time of change as well: that of modification can be set back, as unpacking an archive does.
    return _sha256(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@functools.lru_cache(maxsize=256)
def _sha256(path: Path, size: int, modified_ns: int, changed_ns: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_manifest(folder: Path) -> None:
    """Records size and SHA-256 of every file of `folder` in its manifest."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    entries = {str(path.relative_to(folder)): [path.stat().st_size, file_sha256(path)] for path in files}
    (folder / MANIFEST).write_text(json.dumps(entries, indent=1), encoding="utf-8")


def damage_of(folder: Path) -> str | None:
    """First disagreement of `folder` with its manifest in words, or None when every byte is as it was written."""
    manifest = folder / MANIFEST
    if not manifest.is_file():
        return "it has no manifest"
    try:
        entries = json.loads(manifest.read_text(encoding="utf-8"))
    except ValueError:
        return "its manifest cannot be read"
    # sizes first: a truncated file, the usual damage, is then found without reading gigabytes
    for name, (size, _) in entries.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes, not {size}"
    for name, (_, digest) in entries.items():
        if file_sha256(folder / name) != digest:
            return f"the checksum of {name} does not match"
    return None


def built_once(target: Path, build: Callable[[Path], None]) -> Path:
    """Returns `target`, built by `build(empty_folder)` unless it is already there and undamaged.

    Two processes may call this at once: a file lock lets one build while the other waits. The folder appears by rename,
    so a killed build leaves nothing that a later run could mistake for a model.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if target.exists():
            damage = damage_of(target)
            if damage is None:
                return target
            log.warning("Building %s again: %s.", target, damage)
            shutil.rmtree(target)
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            build(work)
            write_manifest(work)
            _open_to_readers(work)
            os.replace(work, target)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return target


def _open_to_readers(folder: Path) -> None:
    """Temporary folders are made 0700 and safetensors files 0600, which would hide a shared cache from others."""
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
