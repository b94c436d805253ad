r"""HH-RLHF as instruction data: json lines (often .gz) of two dialogues that differ in how they end,

    {"chosen": "\n\nHuman: Who wrote Emma?\n\nAssistant: Jane Austen.", "rejected": "\n\nHuman: Who wrote Emma?\n\nAssistant: No idea."}

of which the chosen one is trained on. As preference pairs the same file is another option. Source: anthropics/hh-rlhf, MIT, English.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from datamodules.sources.hh_dialogue import parse_dialogue
from datamodules.sources.source import FileSource
from kinnari.text.conversation import Message


@dataclass(frozen=True, kw_only=True)
class HHRlhf(FileSource):
    """The preferred dialogue of each row.

    Args:
        inner_cues: take answers that hold "Human:" or "Assistant:" themselves for text instead of rejecting the row; in
            harmless-base 1.7 % of the chosen ones do.
    """

    inner_cues: bool = False
    name: str = "hh_rlhf"
    language: str = "en"
    licence: str = "MIT"

    def convert(self, row: Any) -> tuple[Message, ...] | str:
        """The turns of `chosen`."""
        if not isinstance(row, dict):
            return f"a row must be an object with the columns chosen, rejected; this one is a {type(row).__name__}"
        if "chosen" not in row:
            return f"column 'chosen' is missing; expected columns: chosen, rejected; found: {', '.join(map(str, row)) or 'none'}"
        return parse_dialogue(row["chosen"], inner_cues=self.inner_cues)
