"""The common layouts of rows."""

import pytest

from datamodules.sources.row_formats import FORMATS, column_names, detect
from kinnari.text.conversation import Message
from tests.datamodules.sources.read_source import talk

TURNS = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]


def convert(name, row, **columns):
    return FORMATS[name].convert(row, column_names(name, columns, row))


@pytest.mark.parametrize(
    ("row", "name", "messages"),
    [
        ({"instruction": "a", "output": "b"}, "alpaca", talk("a", "b")),
        ({"instruction": "a", "input": "c", "response": "b"}, "alpaca", (Message("user", "a", context="c"), Message("assistant", "b"))),
        ({"prompt": "a", "completion": "b"}, "prompt_completion", talk("a", "b")),
        ({"prompt": "a", "response": "b"}, "prompt_completion", talk("a", "b")),
        ({"input": "a", "output": "b"}, "input_output", talk("a", "b")),
        ({"question": "a", "answer": "b", "id": 1}, "input_output", talk("a", "b")),
        ({"Q": "a", "A": "b"}, "input_output", talk("a", "b")),
        ({"messages": TURNS}, "messages", talk("a", "b")),
        (TURNS, "messages", talk("a", "b")),
        ({"conversations": TURNS}, "sharegpt", talk("a", "b")),
        ({"items": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}, "sharegpt", talk("a", "b")),
        ({"messages": TURNS, "system": "s"}, "messages", (Message("system", "s"), *talk("a", "b"))),
    ],
)
def test_the_layout_is_told_from_the_columns(row, name, messages):
    assert detect(row, {}) == name
    assert convert(name, row) == messages


@pytest.mark.parametrize("row", [{"text": "a"}, {"instruction": "a"}, {}, [], ["a"], "a", None, 3])
def test_a_row_of_no_layout_has_none(row):
    assert detect(row, {}) is None


def test_columns_go_by_their_names_in_the_file():
    row = {"Frage": "a", "Antwort": "b"}

    assert detect(row, {"input": "Frage", "output": "Antwort"}) == "input_output"
    assert convert("input_output", row, input="Frage", output="Antwort") == talk("a", "b")
    assert "column 'Frage' is missing" in convert("input_output", {"input": "a", "output": "b"}, input="Frage")


def test_history_and_system_message_stand_before_the_question():
    row = {"instruction": "c", "output": "d", "system": "s", "history": [["a", "b"]]}

    assert convert("alpaca", row) == (Message("system", "s"), *talk("a", "b", "c", "d"))


@pytest.mark.parametrize(
    ("name", "row", "reason"),
    [
        ("alpaca", {"instruction": "a", "output": "b", "history": [["a"]]}, "'history' is not a list of [question, answer]"),
        ("alpaca", {"instruction": "a", "output": "b", "system": ["s"]}, "'system' is not text"),
        ("messages", {"messages": [*TURNS, {"role": "tool", "content": "x"}]}, "turn 3 has the role 'tool'"),
        ("messages", {"messages": "a"}, "missing, empty or not a list"),
        ("messages", "a", "must be an object with a list of turns in 'messages'"),
        ("prompt_completion", {"prompt": "a", "completion": None}, "'completion' is missing"),
        ("input_output", ["a"], "this one is a list"),
    ],
)
def test_rows_that_do_not_fit_have_a_reason(name, row, reason):
    assert reason in convert(name, row)
