"""A question that waits for an answer."""

from __future__ import annotations

from dataclasses import dataclass

from kinnari.text.conversation import Message


@dataclass(frozen=True)
class Prompt:
    """What is asked: its turns, its tokens, and the answer that the data has, if any."""

    messages: tuple[Message, ...]
    token_ids: list[int]
    record_id: str
    reference: str


class PromptShare:
    """This rank's prompts of one iteration. An object of its own, because Lightning walks into lists and dataclasses of a batch."""

    def __init__(self, prompts: list[Prompt]) -> None:
        self.prompts = prompts
