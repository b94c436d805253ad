from __future__ import annotations

import pytest

from kinnari.cleaning import EndsWith, Length, MissingAnswer, QuestionIsAnswer, TurnCount
from kinnari.errors import ConfigError
from kinnari.text.conversation import Conversation, Message
from tests.kinnari.cleaning.chats import chat, turns


@pytest.mark.parametrize("conversation", [chat("ทำไม", "เพราะ"), turns("一", "二", "三", "四")])
def test_answers_that_say_something_are_kept(conversation):
    assert MissingAnswer()(conversation) is conversation


def test_missing_and_empty_answers_go():
    assert MissingAnswer()(chat("왜?", None)) == "there is no assistant turn"
    assert MissingAnswer()(chat("なぜ", " \n\t")) == "turn 2, the assistant's, is empty"
    assert MissingAnswer()(turns("a", "b", "c", "")) == "turn 4, the assistant's, is empty"


def test_a_text_for_continued_pre_training_needs_no_question():
    text = Conversation(messages=(Message("assistant", "古池や蛙飛びこむ水の音"),), record_id="x", source="x", language="ja", licence="")
    assert MissingAnswer()(text) is text


def test_an_answer_that_repeats_its_question_goes():
    assert QuestionIsAnswer()(chat("สวัสดี ครับ", "สวัสดี  ครับ!")) == "the answer is the question: 'สวัสดี  ครับ!'"
    assert QuestionIsAnswer()(chat("번역해", "Ｈｅｌｌｏ", context="hello")) == "the answer is the question: 'Ｈｅｌｌｏ'"
    assert isinstance(QuestionIsAnswer(normalised=False)(chat("hello", "Hello")), Conversation)
    assert isinstance(QuestionIsAnswer(normalised=False)(chat("hello", " hello")), str)


def test_words_that_differ_in_a_tone_mark_are_different():
    assert isinstance(QuestionIsAnswer()(chat("มา", "ม้า")), Conversation)


def test_short_answers_may_repeat_the_question_if_one_says_so():
    greeting = chat("こんにちは!", "こんにちは！")
    assert isinstance(QuestionIsAnswer()(greeting), str)
    assert QuestionIsAnswer(least=12)(greeting) is greeting


def test_only_the_turn_before_is_the_question_of_an_answer():
    assert isinstance(QuestionIsAnswer()(turns("나는 학생이다", "네", "정말?", "나는 학생이다")), Conversation)


def test_answers_are_counted_not_messages():
    assert isinstance(TurnCount(least=2, most=2)(turns("1", "2", "3", "4", system="s")), Conversation)
    assert TurnCount(least=2)(chat()) == "1 assistant turns, fewer than 2"
    assert TurnCount(most=1)(turns("1", "2", "3", "4")) == "2 assistant turns, more than 1"


@pytest.mark.parametrize(
    ("unit", "text", "size"),
    [
        ("characters", "  네. \n", 2),
        ("characters", "สวัสดี", 6),
        ("words", "It's the 3rd one", 5),  # It, s, the, 3rd, one
        ("words", "나는 학생이다", 2),
        ("words", "สวัสดีครับ", 3),  # 10 characters, 4 to a word, rounded up
        ("words", "我喜欢吃苹果", 3),  # 6 characters, 2 to a word
        ("words", "私は学生です。", 3),
        ("words", "用Python写", 2),  # 2 characters of Chinese are one word, Python the other
        ("words", "?!", 0),
    ],
)
def test_length_in_characters_and_words(unit, text, size):
    conversation = chat("Q", text)
    assert Length(unit=unit, least=size, most=size)(conversation) is conversation
    assert Length(unit=unit, least=size + 1)(conversation).startswith(f"{size} {unit}, fewer than {size + 1}")
    if size:
        assert Length(unit=unit, most=size - 1)(conversation).startswith(f"{size} {unit}, more than {size - 1}")


def test_every_text_of_the_parts_named_is_measured():
    step = Length(least=5, where=("inputs", "answers"))
    assert step(chat("번역", "안녕하세요", context="Hi")) == "2 characters, fewer than 5: 'Hi'"
    assert isinstance(step(chat("번역", "안녕하세요", context="Hello")), Conversation)
    assert isinstance(step(chat("안녕하세요?", "안녕하세요")), Conversation)


def test_texts_with_an_ending_go():
    step = EndsWith(endings=["?", "？"], sources=["tldr"])
    assert step(chat("post", "anyone know why?\n", source="tldr")) == "ends with '?': 'anyone know why?\\n'"
    assert isinstance(step(chat("post", "为什么？", source="tldr")), str)
    assert isinstance(step(chat("post", "why? because.", source="tldr")), Conversation)
    assert isinstance(step(chat("post", "anyone know why?", source="dolly")), Conversation)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Length(least=5, most=4), "least=5, most=4"),
        (lambda: TurnCount(least=-1), "least=-1"),
        (lambda: Length(unit="tokens"), "model.max_length"),
        (lambda: EndsWith(endings=[]), "endings="),
        (lambda: EndsWith(endings=["?", ""]), "endings="),
    ],
)
def test_settings_that_cannot_work_are_refused(make, says):
    with pytest.raises(ConfigError, match=says):
        make()
