"""A few example rows for every source that reads files, in its own layout: what debug=toy trains on where the files are missing.

Written by hand for Kinnari, Apache-2.0; no row of any published set is among them.
"""

from __future__ import annotations

from pathlib import Path

from datamodules.examples import chat, plain, ranked
from datamodules.examples.layout import Layout
from kinnari.errors import ConfigError

LAYOUTS: dict[str, Layout] = {**plain.LAYOUTS, **chat.LAYOUTS, **ranked.LAYOUTS}


def example_files(source: str, folder: Path, argument: str = "path") -> Path:
    """Write the example rows of a source, and return what its `argument` is then to name.

    Args:
        source: a class of `datamodules.sources`, such as "Dolly".
        folder: is there; the file or folder is named after the source.

    Raises:
        ConfigError: there are none for this source.
    """
    name = source if argument == "path" else f"{source}.{argument}"
    if name not in LAYOUTS:
        raise ConfigError(
            f"There are no example rows for {argument} of the source {source}. Give data.NAME.{argument} a file of your own; for a new "
            "source datamodules/examples may get a few rows."
        )
    return LAYOUTS[name].write(folder / name)
