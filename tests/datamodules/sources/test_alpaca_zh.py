"""Chinese Alpaca."""

from datamodules.sources import AlpacaZh
from kinnari.text.conversation import Message
from tests.datamodules.sources.read_source import read, reasons


def test_rows_are_chinese_alpaca(tmp_path):
    one, bad = read(tmp_path, AlpacaZh, {"instruction": "反义词", "input": "大", "output": "小"}, {"instruction": "写诗", "output": ""})

    assert one.messages == (Message("user", "反义词", context="大"), Message("assistant", "小")) and one.language == "zh"
    assert "'output' is missing, empty" in reasons([bad])[0]
