"""Counting words, by script."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinnari.bootstrap.scripts import word_count


@settings(deadline=None)
@given(st.text(st.characters(max_codepoint=0x24F)))
def test_in_spaced_scripts_words_are_what_stands_between_spaces(text):
    assert word_count(text) == len(text.split())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ฝนเกิดขึ้นได้อย่างไร", 3),  # 15 letters without marks
        ("비는 어떻게 생기나요?", 4),  # 9 syllables
        ("雨はどうやってできますか", 6),  # 12 characters
        ("把这句话翻译成英文。", 4),  # 9 characters
        ("把 hello world 翻译成中文", 5),  # 2 words and 6 + 1 characters
        ("Translate 你好 to English", 4),
        ("ChatGPT를 소개하세요", 4),  # a word and 1 + 5 syllables
        ("", 0),
    ],
)
def test_other_scripts_are_counted_by_characters(text, words):
    assert word_count(text) == words


@settings(deadline=None)
@given(st.text())
def test_any_text_has_a_count(text):
    assert 0 <= word_count(text) <= 2 * len(text) + 1
