"""Questions that hold the dialogue before them."""

import re

from datamodules.sources.history import messages_from_history
from kinnari.text.conversation import Message
from tests.datamodules.sources.read_source import talk

CUE = re.compile(r"^(Q|A|P):", re.MULTILINE)
PARTS = {"Q": "user", "A": "assistant", "P": "context"}


def test_the_answer_follows_the_last_question():
    assert messages_from_history("Q: a\nA: b\nQ: c\nA:", CUE, PARTS, "d") == talk("a", "b", "c", "d")


def test_text_before_the_first_cue_is_the_system_message_and_a_passage_belongs_to_the_next_question():
    messages = messages_from_history("Be brief.\nQ: a\nA: b\nP: p\nP: q\nQ: c", CUE, PARTS, "d")

    assert messages == (Message("system", "Be brief."), *talk("a", "b"), Message("user", "c", context="p\n\nq"), Message("assistant", "d"))


def test_without_a_question_at_the_end_there_is_a_reason():
    assert messages_from_history("Q: a\nA: b", CUE, PARTS, "d") == "the history does not end with a question"
    assert messages_from_history("", CUE, PARTS, "d") == "the history does not end with a question"
    assert messages_from_history("Q:\nA: b\nQ: c", CUE, PARTS, "d") == "part 1 (Q) of the history is empty"
