"""Files of the Open Instruction Generalist collection, json lines of

    {"text": "<human>: Name a fruit.\\n<bot>: An apple.", "metadata": {"source": "unified_chip2"}}

Source: laion/OIG on the hub, one file per part; Apache-2.0 as a collection.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from datamodules.sources.columns import wrong_text_columns
from datamodules.sources.source import FileSource
from datamodules.sources.wangchan_text import messages_from_wangchan
from kinnari.text.conversation import Message


@dataclass(frozen=True, kw_only=True)
class OIGFile(FileSource):
    """A file of the collection, whichever part it is."""

    name: str = "oig"
    language: str = "en"
    licence: str = "Apache-2.0"

    def convert(self, row: Any) -> tuple[Message, ...] | str:
        """The dialogue in `text`, of one turn or several."""
        problem = wrong_text_columns(row, ("text",))
        return problem or messages_from_wangchan(row["text"])
