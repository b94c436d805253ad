"""Rows of a dataset on the Hugging Face hub, streamed; no code of the dataset's repository is run."""

from __future__ import annotations

from collections.abc import Iterator

from datamodules.reading.row import Row, checked
from kinnari.errors import ConfigError


def hub_rows(name: str, split: str, subset: str | None) -> Iterator[Row]:
    """Rows of `name`, numbered from 1.

    Raises:
        ConfigError: if the hub cannot be reached or has no such dataset, subset or split.
    """
    import datasets  # takes a second to import, and local files need none of it

    try:
        stream = iter(datasets.load_dataset(name, subset, split=split, streaming=True))
        first = next(stream, None)
    except Exception as problem:  # whatever the network, the hub or the dataset's own files can raise
        said = " ".join(str(problem).split())[:300]
        raise ConfigError(
            f"{name} is no file here, and as a hub dataset (subset={subset}, split={split}) it cannot be read: "
            f"{type(problem).__name__}: {said}. Check the three, or put the files into a folder and set data.<name>.path=FOLDER."
        ) from problem
    if first is None:
        raise ConfigError(f"{name}: the split {split} (subset={subset}) of this hub dataset holds no row. Choose another split or subset.")
    yield checked(1, first)
    for number, value in enumerate(stream, start=2):
        yield checked(number, value)
