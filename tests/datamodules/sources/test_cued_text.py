"""Dialogues in one string with cues."""

import re

from hypothesis import given
from hypothesis import strategies as st

from datamodules.sources.cued_text import messages_from_cues, split_at_cues
from kinnari.text.conversation import Message
from tests.datamodules.sources.read_source import talk

CUE = re.compile(r"<(ctx|q|a)>")
PARTS = {"ctx": "context", "q": "user", "a": "assistant"}


def messages(text):
    return messages_from_cues(text, CUE, PARTS)


def test_a_passage_belongs_to_the_question_before_it_or_else_to_the_next_one():
    before = messages("<ctx> P <q> Q <a> A")
    after = messages("<q> Q <ctx> P <a> A")

    assert before == after == (Message("user", "Q", context="P"), Message("assistant", "A"))
    assert messages("<q>1<a>2<ctx>P<q>3<a>4") == (*talk("1", "2"), Message("user", "3", context="P"), Message("assistant", "4"))
    assert messages("<ctx>P<q>Q<ctx>R<a>A")[0].context == "P\n\nR"


def test_what_is_no_dialogue_is_refused_with_the_reason():
    assert messages(None) == "the dialogue must be text, it is missing"
    assert messages(["<q>"]) == "the dialogue must be text, it is a list"
    assert messages("hello") == "none of the cues (ctx, q, a) is in the text"
    assert messages("hello <q>Q<a>A") == "there is text before the first cue: 'hello'"
    assert messages("<q>Q<a> \n<q>R<a>B") == "part 2 (a) is empty"
    assert messages("<a>A<q>Q") == "no question with an answer to it is in the dialogue"


@given(st.lists(st.text(alphabet="ab ก가中😀\n", min_size=1).map(str.strip).filter(bool), min_size=2, max_size=8))
def test_turns_written_with_cues_come_back(turns):
    turns = turns[: len(turns) // 2 * 2]
    text = "".join(f"<{'qa'[i % 2]}> {turn}\n" for i, turn in enumerate(turns))

    assert split_at_cues(text, CUE) == ("", [("qa"[i % 2], turn) for i, turn in enumerate(turns)])
    assert messages(text) == talk(*turns)
