"""Rows out of files of any common format, one at a time; a damaged row is reported with its line and the rest goes on."""

from datamodules.reading.files import data_files, is_hub_name, read_rows
from datamodules.reading.row import Row, shown

__all__ = ["Row", "data_files", "is_hub_name", "read_rows", "shown"]
