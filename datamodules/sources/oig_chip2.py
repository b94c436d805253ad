"""OIG chip2, instructions of many kinds with short answers, some of several turns, file unified_chip2.jsonl:

    {"text": "<human>: Name a fruit.\\n<bot>: An apple.", "metadata": {"source": "unified_chip2"}}

Source: laion/OIG, 210,289 rows, English, Apache-2.0. The code among them is what WangChanGLM drops after translating them.
"""

from __future__ import annotations

from dataclasses import dataclass

from datamodules.sources.oig import OIGFile


@dataclass(frozen=True, kw_only=True)
class OIGChip2(OIGFile):
    """The rows of unified_chip2.jsonl."""

    name: str = "oig_chip2"
