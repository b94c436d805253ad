"""Guanaco: rows with and without history."""

from datamodules.sources import Guanaco
from kinnari.text.conversation import Message
from tests.datamodules.sources.read_source import read, reasons, talk


def test_history_and_question_become_turns(tmp_path):
    row = {"instruction": "User: Who are you?\nAssistant: Guanaco.", "input": "System: the sky is blue\nUser: 天空？", "output": "蓝色"}
    first_turn = {"instruction": "", "input": "User: Hi", "output": "Assistant: Hello!"}
    one, first = read(tmp_path, Guanaco, row, first_turn, suffix=".json")

    turns = talk("Who are you?", "Guanaco.", "天空？", "蓝色")
    assert one.messages == (*turns[:2], Message("user", "天空？", context="the sky is blue"), turns[3]) and one.language == ""
    assert first.messages == talk("Hi", "Hello!")


def test_rows_without_cues_are_those_of_alpaca(tmp_path):
    (one,) = read(tmp_path, Guanaco, {"instruction": "雨の詩", "input": "短く", "output": "雨"})

    assert one.messages == (Message("user", "雨の詩", context="短く"), Message("assistant", "雨"))


def test_rows_without_question_or_answer_are_rejected(tmp_path):
    rows = [
        {"instruction": "User: Hi\nAssistant: Yo", "input": "", "output": "Hm"},
        {"instruction": "User: Hi", "output": "Assistant: "},
        {"instruction": "", "input": "", "output": "Hm"},
        {"instruction": 3, "output": "Hm"},
    ]

    expected = ["does not end with a question", "nothing but the cue", "'instruction' is missing, empty", "'instruction' is not text"]
    assert all(part in reason for part, reason in zip(expected, reasons(read(tmp_path, Guanaco, *rows)), strict=True))
