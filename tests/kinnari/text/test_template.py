"""One renderer for training and generation."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinnari.errors import ConfigError
from kinnari.text.conversation import Message
from kinnari.text.template import Template


def chatml(**changes):
    settings = {
        "name": "chatml",
        "system": "<|im_start|>system\n{content}<|im_end|>\n",
        "user": "<|im_start|>user\n{content}<|im_end|>\n",
        "user_with_context": None,
        "assistant_start": "<|im_start|>assistant\n",
        "after_eos": "\n",
        "default_system": None,
        "bos": False,
    }
    return Template(**(settings | changes))


def text_of(segments):
    return "".join("</s>" if s.kind == "eos" else s.text for s in segments)


def test_only_the_answer_and_its_eos_are_trained():
    segments = chatml().render([Message("user", "Hi"), Message("assistant", "Hello!")])

    assert text_of(segments) == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello!</s>\n"
    assert [(s.kind, s.text) for s in segments if s.trained] == [("answer", "Hello!"), ("eos", "")]


def test_every_assistant_turn_is_trained_and_ends_in_eos():
    turns = [Message("user", "1"), Message("assistant", "a"), Message("user", "2"), Message("assistant", "b")]

    trained = [(s.kind, s.text) for s in chatml().render(turns) if s.trained]
    assert trained == [("answer", "a"), ("eos", ""), ("answer", "b"), ("eos", "")]


def test_the_default_system_message_gives_way_to_a_given_one():
    with_default = chatml(default_system="Be kind.")

    assert text_of(with_default.render([Message("user", "Hi")])).startswith("<|im_start|>system\nBe kind.<|im_end|>\n")
    assert "Be kind" not in text_of(with_default.render([Message("system", "Be brief."), Message("user", "Hi")]))


def test_context_goes_where_the_template_puts_it():
    wangchan = chatml(
        user="<human>: {content}\n", user_with_context="<context>: {context}\n<human>: {content}\n", assistant_start="<bot>: "
    )

    assert text_of(wangchan.render_prompt([Message("user", "Who?", context="Ada wrote it.")])) == (
        "<context>: Ada wrote it.\n<human>: Who?\n<bot>: "
    )


def test_context_without_a_place_of_its_own_follows_the_content():
    assert "Who?\n\nAda wrote it." in text_of(chatml().render_prompt([Message("user", "Who?", context="Ada wrote it.")]))


@given(st.text(max_size=30))
def test_user_text_never_becomes_template_text(content):
    segments = chatml().render([Message("user", content), Message("assistant", "ok")])

    assert [s.text for s in segments if s.kind == "text"] == ([content] if content else [])


def test_a_pattern_without_content_is_refused():
    with pytest.raises(ConfigError, match=r"user='Hi' lacks \{content\}"):
        chatml(user="Hi")


def test_braces_in_the_content_are_not_fields():
    segments = chatml().render([Message("user", "{content} {x}")])

    assert "{content} {x}" in text_of(segments)
