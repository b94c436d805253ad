"""kinnari_delta.json: what a folder of differences was made from, how its tensors are stored, and every checksum."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from kinnari.errors import ConfigError
from kinnari.export.weight_files import INDEX, places_in, plain_name

NAME = "kinnari_delta.json"
VERSION = 1
Kind = Literal["steps", "whole", "unchanged"]
_ABOUT = (
    "Weights as differences from a base model. steps: bit patterns of floats are numbered in the order of their values "
    "(n = bits if not negative, else bits with all but the sign bit flipped, as signed integers) and the tensor holds n(tuned) - n(base), "
    "wrapping; the base is first converted to the tuned dtype (round to nearest even, NaN to zero), its rows cut or filled up with "
    "zeros. Integers are subtracted as they are. whole: the tuned tensor itself. unchanged: equal to the base, not stored."
)


@dataclass(frozen=True)
class TensorRecord:
    """How one tensor of the tuned model is stored.

    Attributes:
        kind: steps from the base, whole, or unchanged.
        sha256: checksum of the tuned tensor (`kinnari.export.weight_files.checksum`).
        base: name of the base's tensor; None where the tensor is whole.
        base_sha256: checksum of the base's tensor as the base stores it.
        file: file of the delta that holds it; None where it is unchanged.
    """

    kind: Kind
    sha256: str
    base: str | None = None
    base_sha256: str | None = None
    file: str | None = None


def document_checksum(document: dict[str, Any]) -> str:
    """SHA-256 of the file's content without this very entry: against damage, not against people, who can compute it as well."""
    content = {key: value for key, value in document.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Manifest:
    """The whole file.

    Attributes:
        base: name of the base: a hub id, or the name of its folder.
        revision: the base's revision on the hub, where known.
        tensors: by name.
        headers: header of every safetensors file of the tuned folder, so that recovered files are the same to the byte.
        index: text of the tuned folder's index of shards; None without one.
        files: SHA-256 of every other file of the delta, by name.
    """

    base: str
    revision: str | None
    tensors: dict[str, TensorRecord]
    headers: dict[str, str]
    index: str | None
    files: dict[str, str]

    @property
    def shards(self) -> set[str]:
        """Files that hold tensors of the delta; all other files belong to the tuned folder."""
        return {record.file for record in self.tensors.values() if record.file is not None}

    def write(self, folder: Path) -> None:
        """Writes kinnari_delta.json."""
        document = {"format": "kinnari weight delta", "version": VERSION, "about": _ABOUT, **asdict(self)}
        document["sha256"] = document_checksum(document)
        (folder / NAME).write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Reads and checks kinnari_delta.json, which may come from anywhere.

        Raises:
            ConfigError: none there, of another version, or damaged.
        """
        path = Path(folder).expanduser() / NAME
        if not path.is_file():
            raise ConfigError(f"{folder} holds no {NAME}; give a folder that task=export export.format=delta wrote.")
        try:
            document: dict[str, Any] = json.loads(path.read_text("utf-8"))
            if document["version"] != VERSION:
                raise ConfigError(f"{path} is of version {document['version']}, this Kinnari reads {VERSION}; use the one that wrote it.")
            if document["sha256"] != document_checksum(document):
                raise ValueError("its own checksum differs")
            tensors = {str(name): TensorRecord(**record) for name, record in document["tensors"].items()}
            manifest = cls(
                str(document["base"]), document["revision"], tensors,
                dict(document["headers"]), document["index"], dict(document["files"]),
            )  # fmt: skip
            manifest._check()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"{path} is damaged ({error!r}); copy the delta again.") from error
        return manifest

    def _check(self) -> None:
        named = [*self.headers, *self.files, *self.shards]
        if odd := [name for name in named if not plain_name(name) or name in (NAME, INDEX)]:
            raise ValueError(f"{odd[0]!r} is no name of a file in a delta")
        if odd := [name for name in self.headers if not name.endswith(".safetensors") or name in self.files]:
            raise ValueError(f"{odd[0]!r} is no safetensors file of the tuned model")
        if odd := sorted(self.shards - self.files.keys()):
            raise ValueError(f"{odd[0]} has no checksum")
        held = sorted(place.name for header in self.headers.values() for place in places_in(header))
        if held != sorted(self.tensors):
            raise ValueError("headers and records hold different tensors")
        for name, record in self.tensors.items():
            complete = record.base is not None and record.base_sha256 is not None
            if (
                record.kind not in get_args(Kind)
                or (record.kind != "whole") != complete
                or (record.file is None) != (record.kind == "unchanged")
            ):
                raise ValueError(f"the record of {name} contradicts itself")
        if any(
            re.fullmatch("[0-9a-f]{64}", str(digest)) is None
            for digest in [*self.files.values(), *(r.sha256 for r in self.tensors.values())]
        ):
            raise ValueError("a checksum is no SHA-256")
