"""The safetensors files of a model folder, read one tensor at a time, and files that are written so."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from kinnari.errors import ConfigError

INDEX = "model.safetensors.index.json"
DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "C64": torch.complex64,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz, "F8_E8M0": torch.float8_e8m0fnu, "BOOL": torch.bool,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8,
}  # fmt: skip
_LONGEST_HEADER = 100_000_000  # bytes; safetensors' own limit
_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


@dataclass(frozen=True)
class Place:
    """Where a tensor lies: its dtype as safetensors spells it, its shape, and its bytes from the end of the header on."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype in torch.

        Raises:
            ConfigError: torch has none of that name.
        """
        if self.dtype not in DTYPES:
            raise ConfigError(f"Tensor {self.name} is stored as {self.dtype}, which cannot be read here; store it as one of {[*DTYPES]}.")
        return DTYPES[self.dtype]


class WeightFolder:
    """The weights of a Hugging Face folder by name; nothing is in memory before `tensor` is called, and then one file map.

    Attributes:
        headers: text of the header of each file, by file name, in order.
        places: where each tensor is, by tensor name.
    """

    def __init__(self, folder: Path) -> None:
        """Opens every safetensors file of `folder`: those of the index if there is one, else model.safetensors, else all.

        Raises:
            ConfigError: no folder, no safetensors in it, a file cut off or damaged, or a name in two files.
        """
        self.folder = Path(folder).expanduser()
        self.headers: dict[str, str] = {}
        self.places: dict[str, Place] = {}
        self._file_of: dict[str, str] = {}
        self._open: dict[str, Any] = {}
        for file in _weight_files(self.folder):
            path = self.folder / file
            try:
                self._open[file] = safe_open(path, framework="pt")
            except (SafetensorError, OSError) as error:
                raise ConfigError(f"{path} cannot be read: {error}. It is cut off or damaged; copy it again.") from error
            self.headers[file] = header_of(path)
            for place in places_in(self.headers[file]):
                if place.name in self.places:
                    raise ConfigError(
                        f"{self.folder} holds {place.name} in {self._file_of[place.name]} and in {file}; remove the file that is "
                        "not the model's."
                    )
                self.places[place.name], self._file_of[place.name] = place, file

    @property
    def size_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(place.stop - place.start for place in self.places.values())

    def tensor(self, name: str) -> Tensor:
        """A tensor on the CPU, mapped from its file: pages of it are memory only while they are read. Not to be written to."""
        return self._open[self._file_of[name]].get_tensor(name)


def _weight_files(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder; give the folder of a model with safetensors files.")
    if (folder / INDEX).is_file():
        try:
            files = sorted({str(file) for file in json.loads((folder / INDEX).read_text("utf-8"))["weight_map"].values()})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"{folder / INDEX} is no index of shards ({error!r}); copy it again.") from error
        odd = [file for file in files if not plain_name(file) or not file.endswith(".safetensors")]
        if odd:
            raise ConfigError(f"{folder / INDEX} names {odd[0]!r}, which is no safetensors file beside it; copy the index again.")
        return files
    found = sorted(path.name for path in folder.glob("*.safetensors"))
    if not found:
        raise ConfigError(f"{folder} holds no .safetensors file; give the folder of a model, merged if it was an adapter (task=export).")
    return ["model.safetensors"] if "model.safetensors" in found else found


def keep_apart(target: Path, *sources: Path) -> None:
    """Raises ConfigError if writing `target` would replace a folder that is read, or one around or inside it."""
    target = target.expanduser().resolve()
    for source in (source.expanduser().resolve() for source in sources):
        if target == source or target in source.parents or source in target.parents:
            raise ConfigError(f"{target} would be written over or inside {source}, which is read; give another folder to write to.")


def plain_name(name: str) -> bool:
    """Whether this is the name of a file in the folder itself, on any system."""
    return re.fullmatch(r"[\w.+ -]{1,200}", name) is not None and name.strip(" .") != ""


def header_of(path: Path) -> str:
    """The JSON header of a safetensors file, padding included."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _LONGEST_HEADER:
            raise ConfigError(f"{path} has a header of {length:,} bytes, so it is no safetensors file; copy it again.")
        return file.read(length).decode("utf-8")


def places_in(header: str) -> list[Place]:
    """The tensors of a header, in the order of their bytes.

    Raises:
        ConfigError: the header is no JSON of tensors, or the bytes overlap or leave gaps.
    """
    try:
        entries = {name: entry for name, entry in json.loads(header).items() if name != "__metadata__"}
        places = [
            Place(name, entry["dtype"], tuple(int(n) for n in entry["shape"]), int(entry["data_offsets"][0]), int(entry["data_offsets"][1]))
            for name, entry in entries.items()
        ]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ConfigError(f"A header of a safetensors file is damaged ({error!r}); copy the file again.") from error
    places.sort(key=lambda place: (place.start, place.stop))
    at = 0
    for place in places:
        if place.start != at or place.stop < at:
            raise ConfigError(
                f"The bytes of tensor {place.name} begin at {place.start}, not at {at}: the header is damaged; copy the file again."
            )
        at = place.stop
    return places


def write_file(path: Path, header: str, tensor_of: Callable[[Place], Tensor]) -> None:
    """Writes a safetensors file with exactly this header, asking for one tensor after another.

    Raises:
        ConfigError: a tensor has another number of bytes than its place.
    """
    head = header.encode("utf-8")
    with path.open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        for place in places_in(header):
            content = raw_bytes(tensor_of(place))
            if len(content) != place.stop - place.start:
                raise ConfigError(f"{place.name} has {len(content)} bytes where {path.name} has room for {place.stop - place.start}.")
            file.write(content)


def raw_bytes(tensor: Tensor) -> memoryview:
    """The bytes of a tensor as they lie in a file, without a copy where it is contiguous."""
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data


def checksum(tensor: Tensor) -> str:
    """SHA-256 over dtype, shape and bytes, as 64 hex digits."""
    digest = hashlib.sha256(f"{tensor.dtype} {list(tensor.shape)} ".encode())
    digest.update(raw_bytes(tensor))
    return digest.hexdigest()


def file_checksum(path: Path, advance: Callable[[int], None] = lambda done: None) -> str:
    """SHA-256 of a file; `advance` is told the bytes read since the last call."""
    digest = hashlib.sha256()
    for block in _blocks(path):
        digest.update(block)
        advance(len(block))
    return digest.hexdigest()


def _blocks(path: Path, size: int = 1 << 22) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(size):
            yield block


def bytes_of(size: str) -> int:
    """Bytes of a size such as 400MB or 2GB, decimal as the Hugging Face libraries count them.

    Raises:
        ConfigError: no such size, or none at all.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) *([KMGT]B)?", str(size).strip().upper())
    count = float(found[1]) * _UNITS[found[2] or ""] if found else 0
    if count < 1:
        raise ConfigError(f"Shard size {size!r} must be a number with KB, MB, GB or TB, such as 400MB.")
    return int(count)
