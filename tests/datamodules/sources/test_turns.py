"""Lists of turns and their defects."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodules.sources.turns import as_dialogue, messages_from_turns
from kinnari.text.conversation import Message
from tests.datamodules.sources.read_source import talk


def turns(*pairs):
    return [{"from": role, "value": text} for role, text in pairs]


@pytest.mark.parametrize(
    ("given", "messages"),
    [
        ([("human", "a"), ("gpt", "b")], talk("a", "b")),
        ([("user", "a"), ("ChatGPT ", "b"), ("human", "c"), ("bing", "d")], talk("a", "b", "c", "d")),
        ([("gpt", "z"), ("human", "a"), ("gpt", "b")], talk("a", "b")),
        ([("human", "a"), ("gpt", "b"), ("human", "c")], talk("a", "b")),
        ([("human", "a"), ("human", "c"), ("gpt", "b"), ("gpt", "d")], talk("a\n\nc", "b\n\nd")),
        ([("human", "a"), ("gpt", "b"), ("human", " "), ("gpt", "d")], talk("a", "b")),
        ([("human", "a"), ("gpt", "b"), ("human", "c"), ("gpt", "")], talk("a", "b")),
        ([("system", "s"), ("gpt", "z"), ("human", "a"), ("gpt", "b")], (Message("system", "s"), *talk("a", "b"))),
        ([("system", ""), ("human", "a"), ("gpt", "b")], talk("a", "b")),
        ([("system", "s"), ("system", "t"), ("human", "a"), ("gpt", "b")], (Message("system", "s\n\nt"), *talk("a", "b"))),
    ],
)
def test_defects_are_mended_so_that_roles_alternate(given, messages):
    assert messages_from_turns(turns(*given)) == messages


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ([], "missing, empty or not a list"),
        ("a", "missing, empty or not a list"),
        (["a"], "turn 1 must be an object with 'from' and 'value', it is a str"),
        (turns(("human", "a"), ("tool", "b")), "turn 2 has the role 'tool'; known are: system,"),
        ([{"from": ["human"], "value": "a"}], "turn 1 has the role"),
        ([{"from": "human"}], "turn 1 has no text in 'value'"),
        ([{"from": "human", "value": 3}], "turn 1 has no text in 'value'"),
        (turns(("human", "a"), ("gpt", "b"), ("system", "s"), ("human", "c")), "system message stands after the first turn"),
        (turns(("human", "a")), "no question with an answer"),
        (turns(("gpt", "a")), "no question with an answer"),
        (turns(("system", "a"), ("human", "b")), "no question with an answer"),
        ([{"from": "gpt", "value": "", "tool_calls": [{"id": 1}]}], "turn 1 calls a tool"),
        ([{"from": "human", "value": [{"type": "image_url", "image_url": "x"}]}], "turn 1 has no text"),
    ],
)
def test_what_cannot_be_mended_has_a_reason(given, reason):
    assert reason in messages_from_turns(given)


def test_content_may_be_a_list_of_text_parts_and_an_answer_may_say_whether_it_is_trained():
    given = [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": "c", "weight": 0},
        {"role": "user", "content": "d", "weight": 1},
        {"role": "assistant", "content": "e", "weight": 1},
        {"role": "user", "content": "f"},
        {"role": "assistant", "content": "g"},
    ]
    messages = messages_from_turns(given, "role", "content", trained_key="weight")

    assert [(m.content, m.trained) for m in messages] == [("a\nb", None), ("c", False), ("d", None), ("e", True), ("f", None), ("g", None)]


def test_an_answer_joined_with_one_that_is_not_trained_is_not_trained():
    joined = as_dialogue([Message("user", "a"), Message("assistant", "b", trained=True), Message("assistant", "c", trained=False)])

    assert joined[-1] == Message("assistant", "b\n\nc", trained=False)


@given(st.lists(st.tuples(st.sampled_from(["human", "gpt", "system"]), st.sampled_from(["", "x", "y"])), max_size=8))
def test_whatever_comes_out_alternates_and_ends_with_an_answer(pairs):
    messages = messages_from_turns(turns(*pairs))
    if isinstance(messages, str):
        return

    roles = [m.role for m in messages]
    roles = roles[1:] if roles[0] == "system" else roles
    assert roles == ["user", "assistant"] * (len(roles) // 2) and roles
    assert all(m.content for m in messages)
