"""What stands behind a path: a file, a folder of files, or a dataset of the Hugging Face hub; and which reader takes which file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from datamodules.reading.hub import hub_rows
from datamodules.reading.json_rows import json_rows
from datamodules.reading.row import Row, checked
from datamodules.reading.streams import PACKED, open_text
from datamodules.reading.tables import columnar_rows, delimited_rows
from kinnari.errors import ConfigError

Reader = Callable[[Path, str], Iterator[Row]]
Place = str | Path | Sequence[str | Path]
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
# What `datasets` and the hub put beside the data.
NOT_DATA = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "config.json"}


def text_lines(path: Path, suffix: str) -> Iterator[Row]:
    """Every line of a text file as a row, blank ones as well: they may part documents."""
    with open_text(path) as stream:
        for number, line in enumerate(stream.text, start=1):
            yield checked(number, line.removesuffix("\n").removesuffix("\r"))
        if stream.damage:
            yield Row(0, None, stream.damage)


READERS: dict[str, Reader] = {
    ".json": json_rows,
    ".jsonl": json_rows,
    ".ndjson": json_rows,
    ".csv": delimited_rows,
    ".tsv": delimited_rows,
    ".parquet": columnar_rows,
    ".arrow": columnar_rows,
    ".txt": text_lines,
}
REMEDY = f"Give the file with data.<name>.path=FILE ({', '.join(READERS)}; packed as {', '.join(PACKED)}), a folder, or a list [A,B]."


def data_files(path: Place) -> list[Path]:
    """The local files behind `path`: a file, the data files of a folder and the folders in it (sorted), none for a hub dataset.

    A list of files and folders stands for all of them, in its order.

    Text files of a folder count only where it holds nothing else: they are licences more often than data.

    Raises:
        ConfigError: if there is no such file, or no data file in the folder, or a list names a hub dataset.
    """
    if not isinstance(path, str | Path):
        return [file for one in path for file in _local_files(one, path)]
    local = Path(path).expanduser()
    if local.is_dir():
        return _files_of(local)
    if local.is_file():
        return [local]
    if is_hub_name(path):
        return []
    raise ConfigError(f"{path} does not exist. {REMEDY}")


def _local_files(path: str | Path, paths: Sequence[str | Path]) -> list[Path]:
    """Of one entry of a list."""
    if is_hub_name(path):
        raise ConfigError(
            f"{path}, one of {len(paths)} paths, does not exist. A list may hold files and folders; a hub dataset stands alone, and "
            "another one is a source of its own."
        )
    return data_files(path)


def is_hub_name(path: Place) -> bool:
    """Whether `path` is no local file but has the form owner/name of a hub dataset."""
    if not isinstance(path, str | Path):
        return False
    text = str(path)
    return HUB_NAME.fullmatch(text) is not None and kind(Path(text)) not in READERS and not Path(text).exists()


def kind(path: Path) -> str:
    """The ending that says what a file holds, small, without that of packing: `.jsonl` of `a.JSONL.gz`."""
    return Path(path.name[: -len(path.suffix)] if path.suffix.lower() in PACKED else path.name).suffix.lower()


def read_rows(path: Place, split: str = "train", subset: str | None = None) -> Iterator[tuple[str, Row]]:
    """(file, row) of every row behind `path`, one at a time: memory does not grow with the file.

    Args:
        split, subset: of a hub dataset.

    Raises:
        ConfigError: if there is no such file, if one is empty or of an unknown kind, or if the hub cannot be reached.
    """
    if is_hub_name(path):
        yield from ((str(path), row) for row in hub_rows(str(path), split, subset))
        return
    for file in data_files(path):
        for row in file_rows(file):
            yield str(file), row


def file_rows(path: Path) -> Iterator[Row]:
    """The rows of one file; one of an unknown ending is JSON if it looks like it.

    Raises:
        ConfigError: if the file is empty or nothing that can be read.
    """
    suffix = kind(path)
    start = _start(path, suffix)
    if not start.strip():
        raise ConfigError(f"{path} is empty; it should hold a json list of rows, one json row per line, or a table.")
    if suffix not in READERS and start.lstrip()[:1] not in ("[", "{"):
        raise ConfigError(f"{path}: rows cannot be read from a file that ends in {path.suffix!r}. {REMEDY}")
    if path.suffix.lower() in PACKED and READERS.get(suffix) is columnar_rows:
        raise ConfigError(f"{path}: a {suffix[1:]} file is packed within and cannot be read through {path.suffix}. Unpack it.")
    yield from READERS.get(suffix, json_rows)(path, suffix)


def _start(path: Path, suffix: str) -> str:
    if READERS.get(suffix) is columnar_rows:
        return "x" * min(path.stat().st_size, 1)
    with open_text(path) as stream:
        start = stream.text.read(1 << 12)
        # Blank lines may be many; only a file with nothing else is empty.
        while start.isspace():
            start = stream.text.read(1 << 16)
        return start or ("x" if stream.damage else "")


def _files_of(folder: Path) -> list[Path]:
    inside = sorted(p for p in folder.rglob("*") if p.is_file() and not any(s.startswith(".") for s in p.relative_to(folder).parts))
    found = [p for p in inside if kind(p) in READERS and p.name not in NOT_DATA]
    data = [p for p in found if kind(p) != ".txt"] or found
    if not data:
        raise ConfigError(f"{folder} is a folder without data files. {REMEDY}")
    return data
