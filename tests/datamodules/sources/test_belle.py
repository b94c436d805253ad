"""BELLE in its four layouts."""

import pytest

from datamodules.sources import Belle
from kinnari.text.conversation import Message
from tests.datamodules.sources.read_source import read, reasons, talk


@pytest.mark.parametrize(
    ("row", "messages"),
    [
        (
            {"instruction": "翻译", "input": "天气很好。", "output": "Nice."},
            (Message("user", "翻译", context="天气很好。"), Message("assistant", "Nice.")),
        ),
        (
            {"instruction": "Human:你好\nAssistant:你好！\nHuman:天气？\nAssistant:", "input": "", "output": "晴。"},
            talk("你好", "你好！", "天气？", "晴。"),
        ),
        ({"instruction": "Human: 你好\n\nAssistant：", "output": "你好！"}, talk("你好", "你好！")),
        (
            {"id": "1", "conversations": [{"from": "human", "value": "你好"}, {"from": "assistant", "value": "你好！"}]},
            talk("你好", "你好！"),
        ),
        ({"input": "描述地球。\\n", "target": "一颗\\n行星。"}, talk("描述地球。", "一颗\n行星。")),
        ({"instruction": "谁说 Human: 和 Assistant: ？", "output": "我。"}, talk("谁说 Human: 和 Assistant: ？", "我。")),
    ],
)
def test_each_layout_is_told_from_the_row(tmp_path, row, messages):
    assert read(tmp_path, Belle, row)[0].messages == messages


def test_rows_without_question_or_answer_are_rejected(tmp_path):
    rows = [
        {"instruction": "Human:\nAssistant:你好！\nHuman:天气？\nAssistant:", "output": "晴。"},
        {"instruction": "Human:你好\nAssistant:你好！", "output": "晴。"},
        {"input": "\\n", "target": "x"},
        {"conversations": [{"from": "human", "value": "你好"}]},
        {"instruction": "写诗"},
    ]

    expected = [
        "part 1 (Human) of the history is empty",
        "does not end with a question",
        "nothing but line ends",
        "no question with",
        "'output'",
    ]
    assert all(part in reason for part, reason in zip(expected, reasons(read(tmp_path, Belle, *rows)), strict=True))
