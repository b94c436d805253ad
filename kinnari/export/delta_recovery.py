"""A tuned model out of a published delta and its base, byte for byte, every checksum compared."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from kinnari.errors import ConfigError
from kinnari.export.bit_steps import after_steps, starting_point
from kinnari.export.delta_manifest import NAME, Manifest, TensorRecord
from kinnari.export.folder import written_whole
from kinnari.export.weight_files import INDEX, Place, WeightFolder, checksum, file_checksum, keep_apart, places_in, write_file
from kinnari.text.progress import progress_line

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RecoveryReport:
    """What came back.

    Attributes:
        folder: the tuned model.
        base: name of the base that the delta asks for.
        files: bytes of each file, by name.
        verified_tensors: tensors whose checksum is that of the tuned model; always all of them.
    """

    folder: Path
    base: str
    files: dict[str, int]
    verified_tensors: int


def recover_delta(delta: Path, base: Path, folder: Path) -> RecoveryReport:
    """The tuned folder out of a delta and its base: files of the same names and the same bytes.

    Shards are those of the tuned folder. Each tensor of the base is checked before it is used and each result after; nothing
    appears at `folder` unless all of them are right.

    Raises:
        ConfigError: the delta is damaged, or `base` is another model or another dtype of it; the message names the first
            file or tensor that differs.
    """
    keep_apart(Path(folder), Path(delta), Path(base))
    delta = Path(delta).expanduser()
    manifest = Manifest.read(delta)
    _check_files(manifest, delta)
    stored = WeightFolder(delta) if manifest.shards else None
    weights = WeightFolder(base)
    total = sum(place.stop - place.start for header in manifest.headers.values() for place in places_in(header))

    def write(work: Path) -> None:
        done = 0
        with progress_line("recovering", total) as advance:

            def tensor_of(place: Place) -> Tensor:
                nonlocal done
                done += place.stop - place.start
                advance(done)
                return _recovered(place, manifest, stored, weights)

            for file, header in manifest.headers.items():
                write_file(work / file, header, tensor_of)
        for file in manifest.files.keys() - manifest.shards:
            shutil.copyfile(delta / file, work / file)
        if manifest.index is not None:
            (work / INDEX).write_bytes(manifest.index.encode("utf-8"))

    target = written_whole(Path(folder), write)
    files = {path.name: path.stat().st_size for path in sorted(target.iterdir())}
    log.info("Recovered %d tensors in %s, every checksum that of the tuned model.", len(manifest.tensors), target)
    return RecoveryReport(target, manifest.base, files, len(manifest.tensors))


def _check_files(manifest: Manifest, delta: Path) -> None:
    """Raises ConfigError for the first file of the delta that is not there or not as it was written."""
    paths = {name: delta / name for name in manifest.files}
    for name, path in paths.items():
        if not path.is_file():
            raise ConfigError(f"{delta} lacks {name}, which {NAME} lists; copy the whole delta again.")
    done = 0
    with progress_line("checking the delta", sum(path.stat().st_size for path in paths.values())) as advance:

        def add(count: int) -> None:
            nonlocal done
            done += count
            advance(done)

        for name, path in paths.items():
            if file_checksum(path, add) != manifest.files[name]:
                raise ConfigError(f"{path} is not what was published: its SHA-256 differs from {NAME}. Copy this file again.")


def _recovered(place: Place, manifest: Manifest, stored: WeightFolder | None, base: WeightFolder) -> Tensor:
    """One tensor of the tuned model, its checksum compared."""
    record = manifest.tensors[place.name]
    difference = None
    if record.file is not None:
        if stored is None or place.name not in stored.places:
            raise ConfigError(f"{record.file} lacks {place.name}, which {NAME} says it holds; copy the delta again.")
        difference = stored.tensor(place.name)
    if record.kind == "whole":
        assert difference is not None, "checked with the manifest"
        tensor = difference
    else:
        start = starting_point(_base_tensor(record, manifest, base), place.shape, place.torch_dtype)
        tensor = _stepped(start, difference, place)
    if (tensor.dtype, tuple(tensor.shape), checksum(tensor)) != (place.torch_dtype, place.shape, record.sha256):
        where = record.file or NAME
        raise ConfigError(
            f"{place.name} is not the tuned model's after recovery: its checksum differs, so {where} is damaged; copy it again."
        )
    return tensor


def _stepped(start: Tensor | None, difference: Tensor | None, place: Place) -> Tensor:
    if start is None or (difference is not None and (difference.shape != start.shape or difference.element_size() != start.element_size())):
        raise ConfigError(f"The difference stored for {place.name} does not fit it: the delta is damaged; copy it again.")
    return start if difference is None else after_steps(start, difference)


def _base_tensor(record: TensorRecord, manifest: Manifest, base: WeightFolder) -> Tensor:
    """The base's tensor, once it is known to be the very one that the delta was made from."""
    name = str(record.base)
    expected = manifest.base + (f" at revision {manifest.revision}" if manifest.revision else "")
    if name not in base.places:
        raise ConfigError(f"{base.folder} is not the base of this delta: it has no {name}. Give the folder of {expected}.")
    tensor = base.tensor(name)
    if (found := checksum(tensor)) != record.base_sha256:
        raise ConfigError(
            f"{base.folder} is not the base of this delta: {name} ({tensor.dtype}, {list(tensor.shape)}) has the checksum {found[:12]}, "
            f"not {str(record.base_sha256)[:12]}. Give the folder of {expected}, in the dtype in which it was published."
        )
    return tensor
