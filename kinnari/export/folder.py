"""Model folders that appear whole or not at all, and what lies in them."""

import logging
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from kinnari.errors import ConfigError
from kinnari.models.cache import file_sha256

log = logging.getLogger(__name__)


def written_whole(folder: Path, write: Callable[[Path], None]) -> Path:
    """Lets `write` fill a folder beside `folder`, then renames it: a failed or killed export never looks like a model.

    What stood there before is replaced only then; if `write` raises, its folder is removed and the old one stays.

    Raises:
        ConfigError: `folder` holds other things than a model.
    """
    folder = folder.expanduser().resolve()
    if folder.exists() and not _is_model_folder(folder):
        raise ConfigError(f"{folder} exists and holds no model, so it is not overwritten; give another export folder.")
    work = folder.with_name(f"{folder.name}.tmp")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        write(work)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    if folder.exists():
        before = folder.with_name(f"{folder.name}.before")
        shutil.rmtree(before, ignore_errors=True)
        os.replace(folder, before)
        os.replace(work, folder)
        shutil.rmtree(before)
    else:
        os.replace(work, folder)
    return folder


def _is_model_folder(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    names = {path.name for path in folder.iterdir()}
    models = {"config.json", "adapter_config.json", "params.json"}
    return not names or bool(names & models) or any(name.endswith(".gguf") for name in names)


def file_list(root: Path, folders: Iterable[Path]) -> list[dict[str, str | int]]:
    """Relative path, size in bytes and SHA-256 of every file in `folders`, in the order of their names."""
    paths = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    log.info("checksums of %d files, %.0f MB", len(paths), sum(path.stat().st_size for path in paths) / 1e6)
    return [{"path": str(path.relative_to(root)), "bytes": path.stat().st_size, "sha256": file_sha256(path)} for path in paths]
