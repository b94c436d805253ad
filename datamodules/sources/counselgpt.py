"""CounselGPT: psychological counselling in Korean, written by ChatGPT, json lines. Single questions (total_kor_counsel_bot.jsonl, 13,234):

    {"input": "요즘 잠을 못 자요.", "output": "많이 힘드셨겠어요. ..."}

and dialogues (total_kor_multiturn_counsel_bot.jsonl, 8,731), each line a list, often opened by the counsellor:

    [{"speaker": "상담사", "utterance": "안녕하세요."}, {"speaker": "내담자", "utterance": "요즘 우울해요."},
     {"speaker": "상담사", "utterance": "언제부터인가요?"}]

상담사 is the counsellor, 내담자 the client. Source: MrBananaHuman/CounselGPT, no licence stated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datamodules.sources.columns import wrong_text_columns
from datamodules.sources.source import FileSource
from datamodules.sources.turns import messages_from_turns
from kinnari.text.conversation import Message, Role

SPEAKERS: Mapping[str, Role] = {"상담사": "assistant", "내담자": "user"}


@dataclass(frozen=True, kw_only=True)
class CounselGPT(FileSource):
    """Rows of either file; a folder with both gives both."""

    name: str = "counselgpt"
    language: str = "ko"

    def convert(self, row: Any) -> tuple[Message, ...] | str:
        """A dialogue, or a question with its answer."""
        if isinstance(row, list):
            return messages_from_turns(row, "speaker", "utterance", SPEAKERS)
        problem = wrong_text_columns(row, ("input", "output"))
        return problem or (Message("user", row["input"].strip()), Message("assistant", row["output"].strip()))
