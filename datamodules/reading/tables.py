"""Rows of tables: csv, tsv, parquet and arrow, each a dict of column -> text, number, None.

Header errors and files that are no table at all are the user's to mend; a row that does not fit its header is that row's error.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from datamodules.reading.row import Row, checked, readable
from datamodules.reading.streams import open_text
from kinnari.errors import ConfigError

# Characters of a field. Not unlimited: a quote that is never closed is noticed here, instead of with the file in memory.
LONGEST_FIELD = 1 << 26
BATCH = 256  # rows of a parquet batch decoded at a time
SAMPLE = 1000  # lines looked at to tell a tsv without quoting from one with


def delimited_rows(path: Path, suffix: str) -> Iterator[Row]:
    """Rows of a csv or tsv file with a header.

    Quoted fields may hold line ends. A csv whose header has more semicolons or tabs than commas is split at those, as spreadsheets write
    them where the comma is the decimal sign. Spaces around the names of columns are no part of them. A tsv whose lines all have the
    header's number of tabs is taken line by line, its quotes being text.

    Raises:
        ConfigError: if the header names a column twice.
    """
    csv.field_size_limit(LONGEST_FIELD)
    delimiter, quoting = _dialect(path, suffix)
    with open_text(path, newline="") as stream:
        reader = csv.reader(stream.text, delimiter=delimiter, quoting=quoting)
        try:
            columns = [name.strip() for name in next((fields for fields in reader if fields), [])]
        except csv.Error as problem:
            raise ConfigError(f"{path}: its first row is no header of a table: {problem}. Look at its quotes.") from problem
        if len(set(columns)) < len(columns):
            raise ConfigError(f"{path} names a column twice in its header ({', '.join(columns)}), so one would be lost. Rename it there.")
        yield from _delimited(reader, columns, quoting)
        if stream.damage:
            yield Row(0, None, stream.damage)


def _dialect(path: Path, suffix: str) -> tuple[str, Any]:
    with open_text(path, newline="") as stream:
        sample = [line for line in islice(stream.text, SAMPLE) if line.strip()]
    header = sample[0]
    if suffix != ".tsv":
        bare = re.sub(r'"[^"]*"', "", header)
        return max(",;\t", key=bare.count), csv.QUOTE_MINIMAL  # of equally many the first
    one_row_a_line = all(line.count("\t") == header.count("\t") for line in sample)
    return "\t", csv.QUOTE_NONE if one_row_a_line else csv.QUOTE_MINIMAL


def _delimited(reader: Any, columns: list[str], quoting: Any) -> Iterator[Row]:
    while True:
        line = reader.line_num + 1  # the row begins after the last line read
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as problem:
            yield Row(line, None, f"not a row of a table ({problem})")
            continue
        if not fields:
            continue
        if quoting == csv.QUOTE_NONE:
            fields = [_unquoted(field) for field in fields]
        if len(fields) != len(columns):
            yield Row(line, readable(fields), f"the row has {len(fields)} fields, the header has {len(columns)}")
            continue
        yield checked(line, dict(zip(columns, fields, strict=True)))


def _unquoted(field: str) -> str:
    """A field that is quoted properly, without its quotes; any other one as it stands."""
    inner = field[1:-1]
    quoted = len(field) >= 2 and field[0] == field[-1] == '"' and '"' not in inner.replace('""', "")
    return inner.replace('""', '"') if quoted else field


def columnar_rows(path: Path, suffix: str) -> Iterator[Row]:
    """Rows of a parquet or arrow file, `line` being the number of the row.

    Raises:
        ConfigError: if the file is not one.
    """
    number = 0
    try:
        for batch in _parquet(path) if suffix == ".parquet" else _arrow(path):
            for value in batch.to_pylist():
                number += 1
                yield checked(number, value)
    except (pa.ArrowInvalid, OSError) as problem:
        if number == 0:
            raise ConfigError(
                f"{path} cannot be read as a {suffix[1:]} file: {problem}. Fetch it again, or give it its true ending."
            ) from problem
        yield Row(number + 1, None, f"the file is damaged from here on: {problem}")


def _parquet(path: Path) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path) as file:
        yield from file.iter_batches(batch_size=BATCH)


def _arrow(path: Path) -> Iterator[pa.RecordBatch]:
    """Batches of what `datasets` keeps on disk, the stream format, or of the file format with its footer."""
    with pa.memory_map(str(path)) as source:
        if source.read(6) == b"ARROW1":
            with pa.ipc.open_file(source) as reader:
                batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
                yield from (part for batch in batches for part in _parts(batch))
            return
        source.seek(0)
        with pa.ipc.open_stream(source) as reader:
            yield from (part for batch in reader for part in _parts(batch))


def _parts(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    yield from (batch.slice(start, BATCH) for start in range(0, batch.num_rows, BATCH))
