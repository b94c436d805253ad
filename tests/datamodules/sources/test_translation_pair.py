"""Requests to translate, named after what the texts are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodules.sources.translation_pair import INTO_ENGLISH, INTO_KOREAN, direction_of, hangul, translation
from kinnari.text.conversation import Message


def test_the_request_names_the_language_of_the_answer():
    assert translation("How are you?", "어떻게 지내세요?") == (
        Message("user", "다음을 한국어로 번역해.", context="How are you?"),
        Message("assistant", "어떻게 지내세요?"),
    )
    assert translation("어떻게 지내세요?", "How are you?")[0] == Message(
        "user", "Translate the following into English.", context="어떻게 지내세요?"
    )


def test_korean_among_code_and_english_that_quotes_korean_are_told_apart():
    code = "```python\nfor i in range(10):\n    print(i)\n```"

    assert translation(code + "\nThis loop prints.", code + "\n이 반복문은 출력합니다.")[0].content == INTO_KOREAN
    assert (
        translation("'안녕'은 무슨 뜻이에요? 친구가 저에게 한 말입니다.", "What does '안녕' mean? A friend said it to me.")[0].content
        == INTO_ENGLISH
    )


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        (" ", "안녕", "one side of the pair is empty"),
        ("x = 1", "x = 1 ", "both sides of the pair are the same text"),
        ("Hello", "Hi", "neither side of the pair is plainly the Korean one"),
        ("안녕하세요", "안녕하십니까", "neither side of the pair is plainly the Korean one"),
        ("안녕하세요", "こんにちは", "the translation is not English"),
    ],
)
def test_what_is_no_pair_is_refused(source, target, reason):
    assert translation(source, target) == reason


def test_a_turn_left_untranslated_in_a_translated_conversation_is_refused():
    assert translation("OK", "Okay", "into_korean") == "the Korean side of the pair holds no Korean letter"


def test_jamo_count_as_korean():
    assert hangul("ㅋㅋ가힣ᄀ a中ก") == 5


@given(st.text(alphabet="abc 123가나다ㅋ"), st.text(alphabet="abc 123가나다ㅋ"))
def test_exchanging_the_sides_exchanges_the_direction(a, b):
    opposite = {"into_korean": "into_english", "into_english": "into_korean", None: None}

    assert direction_of([b], [a]) == opposite[direction_of([a], [b])]
