"""Alpaca rows."""

import json

import pytest

from datamodules.sources import Alpaca
from kinnari.text.conversation import Conversation, Message, Reject


def read(tmp_path, *rows):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(list(rows)))
    return list(Alpaca(path=str(path), language="ko", licence="MIT", limit=None, weight=1.0).read())


def test_input_becomes_the_context_of_the_question(tmp_path):
    (one,) = read(tmp_path, {"instruction": "요약", "input": "긴 글", "output": "짧은 글"})

    assert one.messages == (Message("user", "요약", context="긴 글"), Message("assistant", "짧은 글"))
    assert (one.record_id, one.language, one.licence) == ("alpaca:0", "ko", "MIT")


@pytest.mark.parametrize("empty", [{"input": ""}, {"input": None}, {}])
def test_input_may_be_empty_or_missing(tmp_path, empty):
    (one,) = read(tmp_path, {"instruction": "Hi", "output": "Yo"} | empty)

    assert one.messages[0].context == ""


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "Hi", "completion": "Yo"}, "expected columns: instruction, output, input; found: prompt, completion"),
        ({"instruction": "Hi", "output": "  "}, "'output' is missing, empty or not text"),
        ({"instruction": 3, "output": "Yo"}, "'instruction' is missing, empty or not text"),
        ({"instruction": "Hi", "input": ["x"], "output": "Yo"}, "'input' is not text"),
        (["Hi", "Yo"], "this one is a list"),
    ],
)
def test_a_row_of_another_kind_is_rejected_with_the_reason_and_the_rest_goes_on(tmp_path, row, reason):
    bad, good = read(tmp_path, row, {"instruction": "Hi", "output": "Yo"})

    assert isinstance(bad, Reject) and reason in bad.reason and bad.line == 1
    assert isinstance(good, Conversation) and good.record_id == "alpaca:1"


@pytest.mark.parametrize("word", ["<noinput>", "No input", "<no input>", "N/A", "(No Input Required)"])
def test_an_input_that_says_there_is_none_is_none(tmp_path, word):
    (one,) = read(tmp_path, {"instruction": "Hi", "input": word, "output": "Yo"})

    assert one.messages[0].context == ""


@pytest.mark.parametrize("word", ["<nooutput>", "<No output>", "nan"])
def test_an_answer_that_says_there_is_none_is_rejected(tmp_path, word):
    (bad,) = read(tmp_path, {"instruction": "Hi", "output": word})

    assert "which is no answer" in bad.reason


def test_an_answer_about_input_and_output_is_an_answer(tmp_path):
    (one,) = read(tmp_path, {"instruction": "Hi", "input": "no input was given to the program", "output": "There is no output then."})

    assert one.messages[0].context and isinstance(one, Conversation)
