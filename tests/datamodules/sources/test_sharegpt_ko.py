"""ShareGPT in Korean, in both layouts."""

import pytest

from datamodules.sources import ShareGPTKo
from kinnari.errors import ConfigError
from kinnari.text.conversation import Message
from tests.datamodules.sources.read_source import kept, read, reasons, talk

# The layout of ko_shargpt_deepl_translate_cleaned_v2.json: wrong instruction, CRLF in the translation, a rendered prompt beside.
TURN = {
    "instruction": "translate the following into English",
    "input": "Two steps:\n\n1. Think\n2. Write",
    "output": "두 단계입니다:\r\n\r\n1. 생각하기\r\n2. 쓰기",
    "text": '\nBelow is an instruction that describes a task ...\n"\n',
}


def test_a_conversation_is_one(tmp_path):
    (one,) = read(tmp_path, ShareGPTKo, {"id": "a", "conversations": [{"from": "human", "value": "안녕"}, {"from": "gpt", "value": "네!"}]})

    assert one.messages == talk("안녕", "네!") and one.language == "ko"


def test_the_wrong_instruction_is_replaced_by_the_right_one(tmp_path):
    (one,) = read(tmp_path, ShareGPTKo, TURN, suffix=".json")

    assert one.messages == (
        Message("user", "다음을 한국어로 번역해.", context="Two steps:\n\n1. Think\n2. Write"),
        Message("assistant", "두 단계입니다:\n\n1. 생각하기\n2. 쓰기"),
    )
    assert one.language == "ko"


def test_pairs_can_be_swapped_or_taken_without_an_instruction(tmp_path):
    (swapped,) = read(tmp_path, ShareGPTKo, TURN, pairs="swapped")
    (plain,) = read(tmp_path, ShareGPTKo, TURN, pairs="plain")

    assert swapped.messages[0].content == "Translate the following into English."
    assert swapped.messages[1].content == "Two steps:\n\n1. Think\n2. Write" and swapped.language == "en"
    assert plain.messages == talk("Two steps:\n\n1. Think\n2. Write", "두 단계입니다:\n\n1. 생각하기\n2. 쓰기") and plain.language == "ko"


def test_rows_that_are_no_pair_are_rejected(tmp_path):
    records = read(tmp_path, ShareGPTKo, TURN | {"output": ""}, TURN | {"output": TURN["input"]}, TURN | {"instruction": ["x"]}, TURN)

    assert [reason.split(";")[0] for reason in reasons(records)] == [
        "column 'output' is missing, empty or not text",
        "both sides of the pair are the same text",
        "column 'instruction' is not text",
    ]
    assert len(kept(records)) == 1


def test_an_unknown_use_of_pairs_says_what_there_is():
    with pytest.raises(ConfigError, match="pairs=both is none of as_given, swapped, plain"):
        ShareGPTKo(path="x.json", pairs="both")
