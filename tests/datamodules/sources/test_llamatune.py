"""Chats in the layout of llamatune."""

from datamodules.sources import LlamaTune
from kinnari.text.conversation import Message
from tests.datamodules.sources.read_source import kept, read, reasons, talk


def chat(*turns):
    return [{"role": role, "content": text} for role, text in turns]


def test_roles_in_capitals_and_an_optional_system_message(tmp_path):
    first, second = read(
        tmp_path,
        LlamaTune,
        chat(("SYSTEM", "Be kind."), ("USER", "Hi"), ("ASSISTANT", "Hey!")),
        chat(("USER", "a"), ("ASSISTANT", "b")),
        suffix=".json",
    )

    assert first.messages == (Message("system", "Be kind."), *talk("Hi", "Hey!")) and second.messages == talk("a", "b")


def test_one_conversation_to_a_line_is_read_as_well(tmp_path):
    rows = chat(("USER", "a"), ("ASSISTANT", "b")), {"messages": chat(("USER", "c"), ("ASSISTANT", "d"))}

    assert [r.messages for r in read(tmp_path, LlamaTune, *rows)] == [talk("a", "b"), talk("c", "d")]


def test_odd_rows_are_rejected_and_the_rest_goes_on(tmp_path):
    records = read(
        tmp_path, LlamaTune, "x", {"text": "a"}, chat(("USER", "a"), ("TOOL", "b")), chat(("USER", "a"), ("ASSISTANT", "b")), suffix=".json"
    )

    assert reasons(records)[:2] == ["the turns are missing, empty or not a list"] * 2
    assert "turn 2 has the role 'TOOL'" in reasons(records)[2] and len(kept(records)) == 1
