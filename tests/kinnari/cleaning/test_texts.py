from __future__ import annotations

import pytest

from kinnari.cleaning import Length
from kinnari.cleaning.texts import DEEPEST, edit, joined, texts, until_stable
from kinnari.errors import ConfigError
from tests.kinnari.cleaning.chats import chat, turns

TRANSLATION = chat("แปลเป็นภาษาไทย", "สวัสดี", context="Hello")


@pytest.mark.parametrize(
    ("where", "found"),
    [
        (("questions",), ["แปลเป็นภาษาไทย"]),
        (("contexts",), ["Hello"]),
        (("inputs",), ["Hello"]),
        (("answers",), ["สวัสดี"]),
        (("inputs", "contexts"), ["Hello"]),
        (("questions", "inputs", "answers"), ["แปลเป็นภาษาไทย", "Hello", "สวัสดี"]),
    ],
)
def test_parts_of_a_conversation_with_a_context(where, found):
    assert texts(TRANSLATION, where) == found


def test_the_input_is_the_question_where_there_is_no_context():
    assert texts(chat("안녕?", "네", context=" "), ("inputs",)) == ["안녕?"]


def test_every_turn_is_looked_at_in_order():
    talk = turns("一", "二", "三", "四", system="system")
    assert texts(talk, ("system", "answers")) == ["system", "二", "四"]
    assert joined(talk, ("questions",)) == "一\n三"


def test_an_edit_that_changes_nothing_returns_the_very_conversation():
    assert edit(TRANSLATION, ("answers",), lambda text: text) is TRANSLATION


def test_an_edit_leaves_the_other_parts_alone():
    edited = edit(TRANSLATION, ("contexts",), str.upper)
    assert texts(edited, ("questions", "contexts", "answers")) == ["แปลเป็นภาษาไทย", "HELLO", "สวัสดี"]


def test_an_edit_that_leaves_nothing_of_a_turn_is_a_reason():
    assert edit(TRANSLATION, ("answers",), lambda _: " ") == "nothing is left of the assistant turn"
    assert not isinstance(edit(TRANSLATION, ("contexts",), lambda _: ""), str)  # a question may do without its context


def test_an_edit_is_repeated_until_it_changes_nothing_but_not_for_ever():
    halved = until_stable(lambda text: text[: len(text) // 2] if len(text) > 1 else text)
    assert halved("abcdefgh") == "a"
    assert until_stable(lambda text: text + "!")("a") is None
    assert edit(TRANSLATION, ("answers",), lambda _: None) == f"the assistant turn cannot be cleaned in {DEEPEST} passes"


@pytest.mark.parametrize("where", [(), ("answer",), ("answers", "output")])
def test_unknown_parts_are_refused(where):
    with pytest.raises(ConfigError, match="must name one or more of system, questions, inputs, contexts, answers"):
        Length(where=where)
