from __future__ import annotations

import pytest

from kinnari.cleaning import Characters, Markup, PersonalData, Urls
from kinnari.errors import ConfigError
from kinnari.text.conversation import Conversation
from tests.kinnari.cleaning.chats import answer_of, chat


def cleaned(step, text: str) -> str:
    return answer_of(step(chat("Q", text)))


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("ก\u200bา\x00", "กา"),
        ("\ufeff안녕", "안녕"),
        ("한국", "한국"),  # Hangul in separate letters, as macOS writes file names
        ("が", "が"),
        ("café", "café"),
        ("a\r\nb\rc\u2028d", "a\nb\nc\nd"),
        ("a\ud800b", "ab"),
        ("tab\tstays", "tab\tstays"),
        ("क्‍ष", "क्‍ष"),  # a zero-width joiner that spells
        ("👨‍👩‍👧", "👨‍👩‍👧"),
        ("ＡＢＣ　１", "ＡＢＣ　１"),
    ],
)
def test_characters_nobody_sees_go_and_letters_are_composed(text, clean):
    assert cleaned(Characters(), text) == clean


def test_other_forms_are_a_choice():
    assert cleaned(Characters(form="NFKC"), "ＡＢＣ①") == "ABC1"
    assert cleaned(Characters(form=None), "が\x00") == "が"
    with pytest.raises(ConfigError, match="NFC, NFKC or null"):
        Characters(form="NFD")


def test_an_answer_of_nothing_but_invisible_characters_goes():
    assert Characters()(chat("Q", "\u200b\ufeff")) == "nothing is left of the assistant turn"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("ดู https://pantip.com/topic/1 ครับ", "ดู [URL] ครับ"),
        ("ดูhttps://pantip.com/topic/1ครับ", "ดู[URL]ครับ"),  # Thai is written without spaces
        ("见https://example.com/a?b=1&c=2。好", "见[URL]。好"),
        ("보세요 (http://example.co.kr/한글).", "보세요 ([URL]한글)."),
        ("see www.example.org, please", "see [URL], please"),
        ("HTTP://EXAMPLE.COM/X!", "[URL]!"),
        ("[text](https://example.com/a)", "[text]([URL])"),
        ("run `curl https://example.com`", "run `curl https://example.com`"),
        ("```\nwget www.example.com\n``` https://a.b/c", "```\nwget www.example.com\n``` [URL]"),
        ("what is http://?", "what is http://?"),
    ],
)
def test_addresses_become_a_mark_outside_code(text, clean):
    assert cleaned(Urls(), text) == clean


def test_addresses_can_be_removed():
    assert cleaned(Urls(replacement=""), "a https://b.c/d e") == "a  e"
    assert Urls(replacement="")(chat("Q", "https://b.c/d")) == "nothing is left of the assistant turn"


def test_taking_an_address_out_may_not_leave_another():
    assert cleaned(Urls(replacement=""), "x ht<https://a.b>tps://c.d/e") == "x ht<>tps://c.d/e"
    assert cleaned(Urls(replacement=""), "x wwhttps://a.b") == "x wwhttps://a.b"  # a word, not an address
    assert cleaned(Urls(replacement=""), "x ห" + "https://a.b" + "www.c.d") == "x ห"


def test_a_replacement_that_is_an_address_is_refused():
    with pytest.raises(ConfigError, match="an address itself"):
        Urls(replacement="https://example.com")


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("<p>Tom &amp; Jerry</p>", "Tom & Jerry\n"),
        ("一<br/>二<BR>三", "一\n二\n三"),
        ('<a href="x">ลิงก์</a>&nbsp;ค่ะ', "ลิงก์\xa0ค่ะ"),
        ("<script>alert(1)</script>본문<!-- note -->", "본문"),
        ("[Spoil] คลิกเพื่อดูข้อความที่ซ่อนไว้ฆาตกรคือพ่อบ้าน[/Spoil]", "ฆาตกรคือพ่อบ้าน"),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
        ("<human>: hi", "<human>: hi"),
        ("std::vector<int> v", "std::vector<int> v"),
        ("AT&T, R&D, &copy2", "AT&T, R&D, &copy2"),
        ("`<b>` is bold, <b>so</b>", "`<b>` is bold, so"),
        ("```html\n<p>x</p>\n```", "```html\n<p>x</p>\n```"),
        ("write &lt;b&gt; &amp; close it &#8212; always", "write &lt;b&gt; &amp; close it — always"),  # it is about markup
        ("日本語 &lt;3", "日本語 <3"),
        ("<script> never closed", " never closed"),
    ],
)
def test_markup_goes_outside_code(text, clean):
    assert cleaned(Markup(), text) == clean


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("mail a.b+c@example.co.th นะ", "mail [EMAIL] นะ"),
        ("โทร 081-234-5678", "โทร [PHONE]"),
        ("전화 010-1234-5678.", "전화 [PHONE]."),
        ("call +66 81 234 5678 or +1 (555) 123-4567", "call [PHONE] or [PHONE]"),
        ("1234567890 and 2023-01-15 and 3.14159 and 10.0.0.1", "1234567890 and 2023-01-15 and 3.14159 and 10.0.0.1"),
        ("5 - 3 = 2; 100-200-300", "5 - 3 = 2; 100-200-300"),
        ("@user, x@y", "@user, x@y"),
    ],
)
def test_addresses_and_numbers_of_people_become_marks(text, clean):
    assert cleaned(PersonalData(), text) == clean


def test_each_kind_of_personal_data_can_be_left():
    assert cleaned(PersonalData(email=None), "a@example.com 081-234-5678") == "a@example.com [PHONE]"
    assert cleaned(PersonalData(phone=None), "a@example.com 081-234-5678") == "[EMAIL] 081-234-5678"
    with pytest.raises(ConfigError, match="must not be"):
        PersonalData(email="nobody@example.com")


@pytest.mark.parametrize("step", [Characters(), Urls(), Markup(), PersonalData()])
@pytest.mark.parametrize(
    "unit", ["<a ", "<script>", "&amp;", "http://", "`", "```", "a@", "0", "\ud800", "<!--", "[spoil", "www.", "<b<b>>"]
)
def test_a_huge_text_takes_no_time(step, unit):
    assert isinstance(step(chat("Q", "x " + unit * (200_000 // len(unit)))), Conversation | str)
