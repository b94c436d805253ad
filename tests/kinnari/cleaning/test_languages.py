from __future__ import annotations

import pytest

from kinnari.cleaning import Languages
from kinnari.errors import ConfigError
from kinnari.text.conversation import Conversation
from tests.kinnari.cleaning.chats import chat, turns


def test_an_answer_in_another_language_goes():
    step = Languages(languages=["th", "ko"])
    assert step(chat("ทักทาย", "你好，我是一个助手")) == "answers in zh, not in th, ko: '你好，我是一个助手'"
    assert isinstance(step(chat("Hello", "สวัสดีครับ ยินดีที่ได้รู้จัก")), Conversation)
    assert isinstance(step(chat("Hello", "안녕하세요, 반갑습니다")), Conversation)


@pytest.mark.parametrize("answer", ["42", "", "```python\nprint('hello world')\n```", "😀"])
def test_what_nobody_can_tell_is_kept(answer):
    assert isinstance(Languages(languages=["th"])(chat("Q", answer)), Conversation)


def test_each_part_is_judged_for_itself():
    step = Languages(languages=["ja"], where=["questions", "answers"])
    assert step(chat("駅はどこですか", "The station is over there.")).startswith("answers in en")
    assert step(chat("Where is the station?", "駅はあそこです")).startswith("questions in en")


def test_the_answers_of_a_conversation_are_one_text():
    long_thai = "ประเทศไทยมีเมืองหลวงคือกรุงเทพมหานคร และมีประชากรจำนวนมาก"
    assert isinstance(Languages(languages=["th"])(turns("a", long_thai, "b", "Yes sir")), Conversation)


def test_a_declared_language_is_not_believed():
    assert isinstance(Languages(languages=["th"])(chat("Q", "This is plainly English.", language="th")), str)


@pytest.mark.parametrize("languages", [[], ["thai"], ["TH"], [7]])
def test_codes_that_are_none_are_refused(languages):
    with pytest.raises(ConfigError, match="ISO 639-1"):
        Languages(languages=languages)
