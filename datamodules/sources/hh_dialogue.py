r"""Dialogues written as one string, each turn behind a blank line and a cue:

    "\n\nHuman: What is the capital of Laos?\n\nAssistant: Vientiane.\n\nHuman: And of Nepal?\n\nAssistant: Kathmandu."

The format of Anthropic's HH-RLHF. Only a cue after a blank line (or at the very beginning) begins a turn. Of the 4,624 dialogues in its
harmless-base test file 4 end with a blank answer, 13 give a speaker two turns in a row, and 73 have a cue inside a turn, mostly an
answer that begins with "Human:".
"""

from __future__ import annotations

import re
from typing import Any

from datamodules.sources.cued_text import split_at_cues
from datamodules.sources.turns import as_dialogue
from kinnari.text.conversation import Message, Role

# Bounded or possessive repeats: a run of a million blanks must not take a million times a million steps.
TURN = re.compile(r"(?:\A\s*+|\r?\n[ \t]{0,8}\r?\n[ \t]{0,8})(Human|Assistant):")
INNER_CUE = re.compile(r"(?<!\w)(?:Human|Assistant):")
ROLES: dict[str, Role] = {"Human": "user", "Assistant": "assistant"}


def parse_dialogue(text: Any, *, inner_cues: bool = True) -> tuple[Message, ...] | str:
    """The messages of a dialogue, or the reason why it is none.

    Turns of one speaker in a row become one, joined by a blank line. The first message is the user's, the last one a non-empty
    answer: two dialogues with the same questions have the same messages up to their last one.

    Args:
        text: the dialogue; anything but text is answered with a reason.
        inner_cues: False refuses a dialogue with a cue inside an answer: trained on, it would teach the model to write the user's
            turns as well. True takes it for text.
    """
    if not isinstance(text, str):
        return f"a dialogue must be text, this is a {type(text).__name__}"
    lead, turns = split_at_cues(text, TURN)
    if not turns:
        return 'no "Human:" or "Assistant:" begins a turn'
    if lead:
        return 'there is text before the first "Human:"'
    if turns[-1][0] != "Assistant" or not turns[-1][1]:
        return "the dialogue does not end with an answer"
    if turns[0][0] != "Human":
        return "the dialogue begins with an answer"
    for cue, content in turns:
        if not content:
            return "a turn is empty"
        if cue == "Assistant" and not inner_cues and INNER_CUE.search(content):
            return 'an answer holds a cue ("Human:" or "Assistant:")'
    return as_dialogue(Message(ROLES[cue], content) for cue, content in turns)
