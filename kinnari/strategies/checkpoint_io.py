"""Checkpoint files that are either whole or absent: written beside, flushed, renamed; checked before they are trusted."""

from __future__ import annotations

import logging
import os
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from kinnari.errors import RunStopped

log = logging.getLogger(__name__)

_STEP_IN_NAME = re.compile(r"step[=_](\d+)\.ckpt$")


class CheckpointWriteError(RunStopped, OSError):
    """A checkpoint could not be written; the files that were there before are untouched."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning checkpoint plugin: a crash or a full disk at any moment leaves the previous file as it was."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write `checkpoint` to `path` (local file system), replacing a file of that name only when complete.

        Raises: CheckpointWriteError (disk full, quota, no permission).
        """
        target = Path(path)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
            _sync_folder(target.parent)
        # torch.save reports a full disk as RuntimeError from its zip writer, not as OSError (torch 2.13)
        except (OSError, RuntimeError) as error:
            temporary.unlink(missing_ok=True)
            raise CheckpointWriteError(_failure_text(target, error)) from error
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def load_checkpoint(self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True) -> dict[str, Any]:
        """Read a checkpoint onto the CPU; only tensors and plain containers, never pickled code.

        The file is memory-mapped: ranks of one machine share its pages, each reads only what it needs.
        Raises: FileNotFoundError; ValueError where the file is torn.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"no checkpoint at {path}; give the path of a .ckpt file written by this project")
        if not zipfile.is_zipfile(path):
            raise ValueError(f"checkpoint {path} is torn (no zip directory at its end); use the one before it")
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def _failure_text(target: Path, error: Exception) -> str:
    try:
        free = f"{os.statvfs(target.parent).f_bavail * os.statvfs(target.parent).f_frsize / 2**30:.2f} GiB free there"
    except OSError:
        free = "folder not readable"
    kept = "the previous file of that name is intact" if target.exists() else "no file of that name was there before"
    return (
        f"checkpoint {target} was not written: {error} ({free}); {kept}. Free some space or choose another output"
        " folder, then resume from the last checkpoint"
    )


def _sync_folder(folder: Path) -> None:
    """A rename is durable only when its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_intact(path: str | Path) -> bool:
    """Whether the file is a complete zip (torch's format) whose members all match their CRC. Reads the whole file."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, EOFError, zipfile.BadZipFile, NotImplementedError):
        # a flipped bit in a header can also announce a compression method nobody has
        return False


def checkpoint_step(path: str | Path) -> int | None:
    """Optimizer step in a name such as `step_00000012.ckpt` (ours) or `step=00000012.ckpt` (Lightning's), None where there is none."""
    match = _STEP_IN_NAME.search(Path(path).name)
    return int(match[1]) if match else None


def latest_intact(folder: str | Path) -> Path | None:
    """The checkpoint of the highest step that is whole; torn ones are passed over with a warning. None if there is none."""
    by_step = sorted(
        ((step, path) for path in Path(folder).glob("*.ckpt") if (step := checkpoint_step(path)) is not None),
        reverse=True,
    )
    for _, path in by_step:
        if is_intact(path):
            return path
        log.warning("checkpoint %s is torn (incomplete or damaged); using the one before it", path)
    return None
