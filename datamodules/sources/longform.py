"""LongForm, texts written by people as answers to instructions that were generated for them:

    {"input": "Explain how a rice cooker knows when to stop.", "output": "A spring and a magnet ...", "source": "Wikipedia", "subset": ...}

Source: akoksal/LongForm, 23,652 training rows, English, MIT.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from datamodules.sources.columns import wrong_text_columns
from datamodules.sources.source import FileSource
from kinnari.text.conversation import Message


@dataclass(frozen=True, kw_only=True)
class LongForm(FileSource):
    """A file of LongForm rows."""

    name: str = "longform"
    language: str = "en"
    licence: str = "MIT"

    def convert(self, row: Any) -> tuple[Message, ...] | str:
        """`input` is the question, `output` the answer."""
        problem = wrong_text_columns(row, ("input", "output"))
        return problem or (Message("user", row["input"]), Message("assistant", row["output"]))
