from __future__ import annotations

import itertools

import pytest

from kinnari.cleaning import CodeRows, Phrases
from kinnari.errors import ConfigError
from kinnari.text.conversation import Conversation
from tests.kinnari.cleaning.chats import chat

KEYWORDS = ("ฟังก์ชัน", "Python", "ต่อไปนี้เป็นโค้ด")


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, but as an AI Language Model I have no body.",
        "ในฐานะโมเดลภาษา ฉันไม่มีความรู้สึก",
        "저는 인공지능 언어 모델로서 감정이 없습니다.",
        "作为AI语言模型，我没有感情。",
        "私はAI言語モデルとして感情を持ちません。",
    ],
)
def test_a_phrase_is_found_anywhere_whatever_its_case(answer):
    step = Phrases(phrases=["as an ai language model", "ในฐานะโมเดลภาษา", "언어 모델로서", "作为ai语言模型", "ai言語モデルとして"])
    assert step(chat("Q", answer)).startswith("says ")
    assert isinstance(step(chat(answer, "A")), Conversation)


def test_curly_apostrophes_are_apostrophes():
    assert isinstance(Phrases(phrases=["I'm sorry, but I can't"])(chat("Q", "I’m sorry, but I can’t do that.")), str)


def test_an_opener_counts_only_where_a_text_opens():
    step = Phrases(phrases=["Sure!"], at="start", where=["inputs"])
    assert step(chat("번역", "네", context="Sure! Here is a poem.")) == "begins with 'Sure!': 'Sure! Here is a poem.'"
    assert isinstance(step(chat("번역", "네", context=' "sure! Here')), str)
    assert isinstance(step(chat("번역", "네", context="Are you sure? Sure!")), Conversation)


def test_sources_limit_a_phrase_to_some_sources():
    step = Phrases(phrases=["x"], sources=["a"])
    assert isinstance(step(chat("Q", "x", source="a")), str)
    assert isinstance(step(chat("Q", "x", source="b")), Conversation)


@pytest.mark.parametrize("mentioned", [m for n in range(4) for m in itertools.combinations(KEYWORDS, n)])
def test_any_keyword_removes_a_row_and_none_keeps_it(mentioned):
    # The original removed a row without the first keyword when it had another: `not a or b or c` for `not (a or b or c)`.
    step = CodeRows(keywords=KEYWORDS, sources=("oig_chip2",))
    result = step(chat("เขียนโปรแกรม", "ได้ครับ " + " ".join(mentioned), source="oig_chip2"))
    assert isinstance(result, str) == bool(mentioned)


def test_code_rows_of_other_sources_and_languages_stay():
    step = CodeRows(keywords=["Python"], sources=["oig_chip2"], languages=["th"])
    assert isinstance(step(chat("Python?", "ครับ", source="oig_chip2", language="th")), str)
    assert isinstance(step(chat("Python?", "ครับ", source="dolly", language="th")), Conversation)
    assert isinstance(step(chat("Python?", "Yes", source="oig_chip2", language="en")), Conversation)


@pytest.mark.parametrize("make", [lambda: Phrases(phrases=[]), lambda: Phrases(phrases=["a", " "]), lambda: CodeRows(keywords=[])])
def test_an_empty_phrase_is_refused_because_it_is_in_every_text(make):
    with pytest.raises(ConfigError, match="one or more texts that are not empty"):
        make()


def test_a_place_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="start or anywhere"):
        Phrases(phrases=["a"], at="end")
