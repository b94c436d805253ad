"""Korean Wizard of Wikipedia: an apprentice who wants to know about a topic, and a wizard who reads up on it, a json list of

    {"chosen_topic": "커피", "wizard_eval": 5, "persona": "...", "chosen_topic_passage": ["..."], "dialog": [
        {"speaker": "0_Apprentice", "text": "커피를 좋아해요?", "retrieved_passages": [...]},
        {"speaker": "1_Wizard", "text": "네, ...", "checked_sentence": {"self_커피_0": "커피는 ..."}, "retrieved_passages": [...]}]}

The layout is that of ParlAI's Wizard of Wikipedia, which the task files of AIRC-KETI/kowow read (train.json in the folders ko, ke, ek,
en: the languages of the knowledge and of the utterances). No licence of the data is stated.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from datamodules.sources.source import FileSource
from datamodules.sources.turns import as_dialogue
from kinnari.text.conversation import Message

NOT_USED = "no_passages_used"


@dataclass(frozen=True, kw_only=True)
class KoWoW(FileSource):
    """Dialogues; the wizard is the assistant. Where the wizard speaks first the topic stands for the question.

    Args:
        knowledge: give each question the sentence of Wikipedia that the wizard chose for the answer, as its context.
    """

    knowledge: bool = True
    name: str = "kowow"
    language: str = "ko"

    def convert(self, row: Any) -> tuple[Message, ...] | str:
        """The turns of `dialog`."""
        turns = row.get("dialog") if isinstance(row, dict) else None
        if not isinstance(turns, list) or not turns:
            return "'dialog' is missing, empty or not a list"
        messages: list[Message] = []
        for number, turn in enumerate(turns, start=1):
            speaker = turn.get("speaker") if isinstance(turn, dict) else None
            text = turn.get("text") if isinstance(turn, dict) else None
            if not isinstance(speaker, str) or not isinstance(text, str) or not text.strip():
                return f"turn {number} has no speaker or no text"
            if "apprentice" in speaker.lower():
                messages.append(Message("user", text.strip()))
            elif "wizard" in speaker.lower():
                if not messages and isinstance(row.get("chosen_topic"), str) and row["chosen_topic"].strip():
                    messages.append(Message("user", row["chosen_topic"].strip()))
                if self.knowledge and messages and messages[-1].role == "user":
                    messages[-1] = replace(messages[-1], context=checked_sentence(turn))
                messages.append(Message("assistant", text.strip()))
            else:
                return f"turn {number} has the speaker {speaker[:40]!r}, neither Wizard nor Apprentice"
        return as_dialogue(messages)


def checked_sentence(turn: Any) -> str:
    """The sentence the wizard chose, empty for none: the one value of the dict `checked_sentence`."""
    chosen = turn.get("checked_sentence")
    sentence = next(iter(chosen.values()), "") if isinstance(chosen, dict) else ""
    return sentence.strip() if isinstance(sentence, str) and sentence.strip() != NOT_USED else ""
