"""Alpaca-cleaned: alpaca's columns under a name of its own."""

from datamodules.sources import AlpacaCleaned
from kinnari.text.conversation import Message
from tests.datamodules.sources.read_source import read


def test_rows_are_those_of_alpaca(tmp_path):
    (one,) = read(tmp_path, AlpacaCleaned, {"output": "1. Eat well", "input": "", "instruction": "Three tips?"}, suffix=".json")

    assert one.messages == (Message("user", "Three tips?"), Message("assistant", "1. Eat well"))
    assert (one.record_id, one.language, one.licence) == ("alpaca_cleaned:0", "en", "CC-BY-NC-4.0")
