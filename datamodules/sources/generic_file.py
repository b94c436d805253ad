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

from datamodules.reading import Row
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
        if not isinstance(self.columns, Mapping):
            raise ConfigError(
                f"data.{self.name}.columns={self.columns} must name columns, such as data.{self.name}.columns.output=Antwort."
            )
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
        rows = [row for _, row in islice(self.rows(), LOOKED_AT)]
        readable = [row.value for row in rows if row.error is None]
        for value in readable:
            name = detect(value, self.columns)
            if name is not None:
                return name
        raise ConfigError(f"{self.path}: {self._why_unknown(rows, readable)}")

    def _why_unknown(self, rows: list[Row], readable: list[Any]) -> str:
        if not rows:
            return f"it holds no row, or a header alone; check data.{self.name}.path."
        if not readable:
            first = f"Line {rows[0].line}: {rows[0].error}"
            return f"none of the first {len(rows)} rows can be read. {first}. Is the file whole, in UTF-8, and what its ending says?"
        columns = [str(column)[:40] for value in readable[:1] if isinstance(value, dict) for column in list(value)[:20]]
        found = ", ".join(columns) or "no columns"
        layouts = "; ".join(f"{name}: {', '.join(layout.required)}" for name, layout in FORMATS.items())
        own = columns[0] if columns else "COLUMN"
        return (
            f"no layout fits the first {len(rows)} rows, which have {found}. The layouts need ({layouts}). Say what the columns are, "
            f"such as data.{self.name}.format=alpaca data.{self.name}.columns.instruction={own}, or take data=plain_text for text as such."
        )
