"""A file of your own in one of the common layouts, for instance a spreadsheet saved as csv:

    Frage,Antwort
    Was ist ein Wat?,Ein buddhistischer Tempel in Thailand.

    python launch.py data=file data.file.path=FILE data.file.format=input_output \\
        data.file.columns.input=Frage data.file.columns.output=Antwort

`format=auto` takes the first layout of datamodules/sources/row_formats.py whose columns the first rows have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from datamodules.sources.row_formats import FORMATS, column_names, detect
from datamodules.sources.source import FileSource
from kinnari.errors import ConfigError
from kinnari.text.conversation import Conversation, Message, Reject

LOOKED_AT = 20  # rows from which the layout is told; the first ones may be damaged


@dataclass(frozen=True, kw_only=True)
class GenericFile(FileSource):
    """Rows of a common layout.

    Args:
        format: alpaca, prompt_completion, input_output, sharegpt, messages, or auto.
        columns: the layout's name of a column -> its name in the file; None where it is the same.

    Raises:
        ConfigError: for a format or column there is not; when reading, if no layout fits.
    """

    name: str = "file"
    format: str = "auto"
    columns: Mapping[str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse unknown names."""
        if self.format != "auto" and self.format not in FORMATS:
            raise ConfigError(f"data.{self.name}.format={self.format} is unknown. Use one of: auto, {', '.join(FORMATS)}.")
        chosen = FORMATS.values() if self.format == "auto" else [FORMATS[self.format]]
        known = {column for layout in chosen for column in (*layout.required, *layout.optional)}
        unknown = [column for column, own in self.columns.items() if own is not None and column not in known]
        if unknown:
            raise ConfigError(
                f"data.{self.name}.columns names {', '.join(unknown)}, which format={self.format} does not have. "
                f"It has: {', '.join(sorted(known))}."
            )

    def read(self) -> Iterator[Conversation | Reject]:
        """One conversation per row; with `auto` the first rows are read twice."""
        yield from (replace(self, format=self._told()) if self.format == "auto" else self).read_rows()

    def read_rows(self) -> Iterator[Conversation | Reject]:
        """One conversation per row, the format being known."""
        return super().read()

    def convert(self, row: Any) -> tuple[Message, ...] | str:
        """The messages of a row in this format; with `auto` the layout is told from the row itself."""
        name = detect(row, self.columns) if self.format == "auto" else self.format
        if name is None:
            return "the row fits no layout"
        return FORMATS[name].convert(row, column_names(name, self.columns, row))

    def _told(self) -> str:
        first = [row.value for _, row in islice(self.rows(), LOOKED_AT) if row.error is None]
        for row in first:
            name = detect(row, self.columns)
            if name is not None:
                return name
        found = ", ".join(str(column)[:40] for column in list(first[0])[:20]) if first and isinstance(first[0], dict) else "no columns"
        layouts = "; ".join(f"{name}: {', '.join(layout.required)}" for name, layout in FORMATS.items())
        raise ConfigError(
            f"{self.path}: no layout fits the first {LOOKED_AT} rows, which have {found}. The layouts need ({layouts}). Name the columns "
            f"with data.{self.name}.format=FORMAT and data.{self.name}.columns.NAME=COLUMN, or take data=plain_text for text as such."
        )
