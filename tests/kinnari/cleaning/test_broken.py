from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinnari.cleaning import BrokenText
from kinnari.cleaning.broken import mojibake_sequences
from kinnari.errors import ConfigError
from kinnari.text.conversation import Conversation
from tests.kinnari.cleaning.chats import chat


def misread(text: str) -> str:
    """UTF-8 as Windows-1252 shows it, the five bytes it lacks as Latin-1 shows them."""
    return "".join(bytes([b]).decode("cp1252") if b not in (0x81, 0x8D, 0x8F, 0x90, 0x9D) else chr(b) for b in text.encode())


@pytest.mark.parametrize("text", ["สวัสดี", "안녕하세요", "你好吗", "こんにちは", "été à Genève", "don’t “quote” me"])
@pytest.mark.parametrize("read", [misread, lambda text: text.encode().decode("latin-1")])
def test_utf_8_read_as_another_encoding_goes(text, read):
    assert mojibake_sequences(read(text)) == sum(ord(c) > 127 for c in text)
    assert isinstance(BrokenText()(chat("Q", read(text))), str)


@pytest.mark.parametrize(
    "text",
    [
        "สวัสดี",
        "안녕하세요",
        "你好吗",
        "こんにちは",
        "été à Genève, où l’âge naïf…",
        "Ünïcödé ÄÖÜ ßéè",
        "“«quoted»” – 5 € ©",
        "Ω ≈ 3 µm ± 2 °C",
        "¿Qué? ¡Sí!",
    ],
)
def test_healthy_texts_stay(text):
    assert mojibake_sequences(text) == 0
    assert isinstance(BrokenText()(chat(text, text, context=text)), Conversation)


def test_a_sequence_or_two_may_be_shown():
    assert isinstance(BrokenText()(chat("Q", "It shows Ã© for é and Ã¨ for è.")), Conversation)
    assert isinstance(BrokenText(mojibake=1)(chat("Q", "It shows Ã© for é and Ã¨ for è.")), str)


def test_lost_characters_go_when_they_are_more_than_a_share():
    assert isinstance(BrokenText()(chat("Q", "a" * 99 + "\ufffd")), Conversation)  # 1 of 100
    assert BrokenText()(chat("Q", "a" * 98 + "\ufffd")).startswith("1 characters were lost in decoding")  # 1 of 99
    assert isinstance(BrokenText(replacement_share=1)(chat("Q", "\ufffd\ufffd")), Conversation)


@given(st.text(st.characters(min_codepoint=0x80, exclude_categories=("Cs",)), min_size=1))
def test_every_misread_character_is_counted(text):
    assert mojibake_sequences(misread(text)) >= len(text)


def test_limits_that_are_none_are_refused():
    with pytest.raises(ConfigError, match="replacement_share=2"):
        BrokenText(replacement_share=2)
