"""OIG abstract_infill, questions about DBpedia abstracts, file unified_abstract_infill.jsonl:

    {"text": "Background: Ayutthaya was a kingdom ...\\n<human>: When did it end?\\n<bot>: In 1767.", "metadata": {"source": ...}}

The passage is headed by the word `Background:` instead of a cue. Source: laion/OIG; WangChanGLM keeps 99,288 rows of at most 512
tokens and calls them infil_dbpedia. English, Apache-2.0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from datamodules.sources.oig import OIGFile
from kinnari.text.conversation import Message

# Only as a heading of the text: an answer that is an abstract may have its own.
BACKGROUND = re.compile(r"\A\s*Background:")


@dataclass(frozen=True, kw_only=True)
class OIGInfillDBpedia(OIGFile):
    """The rows of unified_abstract_infill.jsonl, the passage as context of the first question."""

    name: str = "oig_infill_dbpedia"

    def convert(self, row: Any) -> tuple[Message, ...] | str:
        """The dialogue in `text`, its background as context."""
        if isinstance(row, dict) and isinstance(row.get("text"), str):
            row = {**row, "text": BACKGROUND.sub("<context>:", row["text"])}
        return super().convert(row)
