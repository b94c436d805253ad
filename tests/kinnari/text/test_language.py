from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinnari.text.language import SAMPLE, language_of


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("ครับ", "th"),
        ("สวัสดีครับ วันนี้อากาศดีมาก", "th"),
        ("네", "ko"),
        ("오늘 날씨가 정말 좋네요", "ko"),
        ("好", "zh"),
        ("今天天气很好，我们去公园吧", "zh"),
        ("今天天氣很好，我們去公園吧", "zh"),
        ("はい", "ja"),
        ("今日は天気がいいですね", "ja"),
        ("コーヒー", "ja"),
        ("The weather is lovely today.", "en"),
        ("Das Wetter ist heute sehr schön.", "de"),
        ("Il fait très beau aujourd'hui.", "fr"),
        ("Hoy hace muy buen tiempo.", "es"),
        ("Hôm nay thời tiết rất đẹp.", "vi"),
        ("Cuaca hari ini sangat cerah, mari kita pergi ke taman.", "id"),
        ("Сегодня очень хорошая погода.", "ru"),
        ("आज मौसम बहुत अच्छा है।", "hi"),
        ("الطقس جميل جدا اليوم", "ar"),
    ],
)
def test_languages(text, language):
    assert language_of(text) == language


@pytest.mark.parametrize("text", ["", "42", "3.14 + 2 = ?", "😀🎉", "```python\nimport os\n```", "https://a.com/b", "<br>", "\ud800\x00"])
def test_what_cannot_be_known_is_empty(text):
    assert language_of(text) == ""


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("请用 Python 写一个函数", "zh"),
        ("ช่วยเขียนโปรแกรม Python ให้หน่อย", "th"),
        ("Python으로 함수를 작성해 줘", "ko"),
        ("Pythonで関数を書いて", "ja"),
        ("How does one say สวัสดี in English, and when?", "en"),
        ("日本的动画片《となりのトトロ》在中国上映以后，受到了许多观众的热烈欢迎，评论家们也给予了非常高的评价，票房超过了一亿元人民币，"
         "成为当年最受瞩目的进口影片之一，也让更多的人开始关注吉卜力工作室的其他优秀作品，并纷纷购买了周边产品", "zh"),
    ],
)  # fmt: skip
def test_the_language_most_of_a_text_is_in_decides(text, language):
    assert language_of(text) == language


def test_code_addresses_tags_and_names_say_nothing():
    assert language_of("ดูที่ https://example.com/the/long/english/path/of/this/page ครับ") == "th"
    assert language_of("答案：\n```python\ndef quick_brown_fox(jumps, over, lazy, dog): return None\n```") == "zh"
    assert language_of('<a href="x" class="some english words here">링크</a>') == "ko"


def test_capitals_are_read_as_well():
    assert language_of("THE WEATHER IS LOVELY TODAY.") == "en"


def test_a_page_is_judged_by_its_beginning():
    assert language_of("สวัสดี " * SAMPLE + "hello there " * 100_000) == "th"


def test_japanese_without_kana_is_taken_for_chinese():
    assert language_of("東京都庁舎") == "zh"  # stated in the module: nothing in the text says otherwise


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_has_a_two_letter_code_or_none_and_always_the_same(text):
    language = language_of(text)
    assert language == "" or (len(language) == 2 and language.isalpha() and language.islower())
    assert language == language_of(text)
