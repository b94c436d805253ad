"""Evolve-instruct."""

from datamodules.sources import EvolveInstructKo
from kinnari.text.conversation import Message
from tests.datamodules.sources.read_source import kept, read, reasons, talk


def test_input_alone_is_the_question(tmp_path):
    (one,) = read(tmp_path, EvolveInstructKo, {"input": "보도자료\n===\n기사를 쓰라.", "output": "기사"}, suffix=".json")

    assert one.messages == talk("보도자료\n===\n기사를 쓰라.", "기사") and one.language == "ko"


def test_input_beside_an_instruction_is_its_context(tmp_path):
    (one,) = read(tmp_path, EvolveInstructKo, {"instruction": "요약하라.", "input": "긴 글", "output": "짧은 글"})

    assert one.messages == (Message("user", "요약하라.", context="긴 글"), Message("assistant", "짧은 글"))


def test_odd_rows_are_rejected_and_the_rest_goes_on(tmp_path):
    good = {"instruction": "시", "output": "봄비"}
    records = read(tmp_path, EvolveInstructKo, {"output": "x"}, {"input": ["x"], "output": "y"}, {"input": "x"}, good)

    assert [reason.split(" is ")[0] for reason in reasons(records)] == ["column 'instruction'", "column 'instruction'", "column 'output'"]
    assert kept(records)[0].messages == talk("시", "봄비")
