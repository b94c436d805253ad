"""Reddit posts and their summaries, file unified_openai_summarize_tldr.jsonl of OIG:

    {"text": "<human>: I adopted a cat ...\\n<bot>: My new cat sleeps all day.", "metadata": {"source": ...}}

Rows that end with a question mark summarise by asking and are left out; of the others WangChanGLM draws 30,000 with the seed 125 (the
option's `limit` and `limit_seed`), 28,436 of them within 512 tokens. Source: laion/OIG after openai/summarize-from-feedback.
English, Apache-2.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from datamodules.sources.oig import OIGFile
from kinnari.text.conversation import Message


@dataclass(frozen=True, kw_only=True)
class OpenAITLDR(OIGFile):
    """The summaries that are statements."""

    name: str = "openai_tldr"
    limit: int | None = 30_000
    limit_seed: int | None = 125

    def convert(self, row: Any) -> tuple[Message, ...] | str:
        """The post as question, its summary as answer."""
        if isinstance(row, dict) and isinstance(row.get("text"), str) and row["text"].endswith("?"):
            return "the text ends with a question mark"
        return super().convert(row)
