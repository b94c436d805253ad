r"""HH-RLHF as preference pairs: json lines (often .gz) of two dialogues that differ in the last answer,

    {"chosen": "\n\nHuman: Who wrote Emma?\n\nAssistant: Jane Austen.", "rejected": "\n\nHuman: Who wrote Emma?\n\nAssistant: No idea."}

As instruction data the same file is `data=hh_rlhf`. Source: anthropics/hh-rlhf, MIT, English.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from datamodules.sources.hh_dialogue import parse_dialogue
from datamodules.sources.preference_columns import two_endings
from datamodules.sources.ranked import RankedFileSource, Ranking


@dataclass(frozen=True, kw_only=True)
class HHRlhfPairs(RankedFileSource):
    """The common beginning of each row's dialogues, and both last answers.

    Args:
        inner_cues: take answers that hold "Human:" or "Assistant:" themselves for text instead of rejecting the row:
            a model rewarded for such an answer learns to write the other side of the dialogue as well.
    """

    inner_cues: bool = False
    name: str = "hh_rlhf_pairs"
    language: str = "en"
    licence: str = "MIT"

    def rank(self, row: Any) -> Ranking | str:
        """The pair of one row."""
        if not isinstance(row, dict) or "chosen" not in row or "rejected" not in row:
            return "a row must be an object with the columns chosen, rejected"
        chosen, rejected = (parse_dialogue(row[column], inner_cues=self.inner_cues) for column in ("chosen", "rejected"))
        return two_endings(chosen, rejected)
