"""openassistant-guanaco."""

import pytest

from datamodules.sources import OpenAssistantGuanaco
from tests.datamodules.sources.read_source import kept, read, reasons, talk


@pytest.mark.parametrize("gap", ["", "\n", "\n\n"])
def test_cues_part_the_turns_with_or_without_line_breaks(tmp_path, gap):
    (one,) = read(tmp_path, OpenAssistantGuanaco, {"text": f"### Human: สวัสดี{gap}### Assistant: # Title\nสวัสดีครับ{gap}### Human: 谢谢"})

    assert one.messages == talk("สวัสดี", "# Title\nสวัสดีครับ")
    assert (one.language, one.licence) == ("", "Apache-2.0")


def test_odd_rows_are_rejected_and_the_rest_goes_on(tmp_path):
    good = {"text": "### Human: a### Assistant: b"}
    records = read(tmp_path, OpenAssistantGuanaco, {"text": "Human: a"}, {"text": None}, {"text": "### Human: a"}, good)

    assert reasons(records) == [
        "none of the cues (Human, Assistant) is in the text",
        "the dialogue must be text, it is missing",
        "no question with an answer to it is in the dialogue",
    ]
    assert kept(records)[0].messages == talk("a", "b")
