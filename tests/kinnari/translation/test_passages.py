"""Cutting texts loses nothing, keeps what must not change, and finds the borders of sentences in five languages."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinnari.errors import ConfigError
from kinnari.translation.passages import Piece, assemble, join, split
from kinnari.translation.translator import Translation

PARTS = st.sampled_from([
    "Hello. ", "สวัสดีครับ ", "안녕하세요. ", "你好。", "「はい！」", "กำ", "… ", "a" * 40, "`a`", "{x}", "https://a.b/c",
    "```\n", "```py\nx = 1\n```", "~~~\n", "\n", "\r\n", "  ", "\u2028", "\x00", "1. ", "- ", "# T\n",
])  # fmt: skip


def moved(text: str, unit: str = "line") -> list[str]:
    return [piece.text for piece in split(text, unit) if not piece.kept]


@given(st.lists(PARTS | st.text(max_size=5), max_size=25).map("".join), st.sampled_from(["text", "line", "sentence"]), st.booleans(),
       st.integers(1, 30))  # fmt: skip
def test_the_pieces_are_the_text(text: str, unit: str, keep_code: bool, most: int) -> None:
    pieces = split(text, unit, keep_code=keep_code, fits=lambda part: len(part) <= most)
    assert "".join(piece.text for piece in pieces) == text
    assert all(len(piece.text) <= most and piece.text.strip() for piece in pieces if not piece.kept)
    assert not any(a.kept and b.kept for a, b in itertools.pairwise(pieces))


@given(st.lists(PARTS, max_size=12).map("".join), st.sampled_from(["text", "line"]))
def test_translating_each_stretch_by_itself_gives_the_text_back(text: str, unit: str) -> None:
    pieces = split(text, unit)
    assert join(pieces, {piece.text: piece.text for piece in pieces}, "en") == text


def test_lines_are_given_without_their_markers_and_indentation() -> None:
    text = "# Title\n\n  1. First step\r\n- * second\n> > quoted \n42 %\nhttps://example.org/x\nB) third"
    assert moved(text) == ["Title", "First step", "second", "quoted", "third"]


@pytest.mark.parametrize(
    "code",
    [
        "```python\nprint('hi')\n```",
        "~~~\nHello\n~~~",
        "````\n```\nHello\n```\n````",
        "   ```\n   Hello\n   ```",
        "```\nHello, never closed",
    ],
)
def test_code_blocks_are_kept(code: str) -> None:
    text = f"Run this:\n{code}" + ("\nDone." if "never" not in code else "")
    assert moved(text, "text") == (["Run this:", "Done."] if "never" not in code else ["Run this:"])
    assert len(moved(text, "line")) == len(moved(text, "text"))


def test_code_is_translated_where_that_is_wanted() -> None:
    assert [p.text for p in split("```\nHello\n```", "line", keep_code=False) if not p.kept] == ["Hello"]


def test_backticks_within_a_line_are_no_block() -> None:
    assert moved("```print(1)``` prints one.\nNext line.") == ["```print(1)``` prints one.", "Next line."]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Good. Done! Fruit, e.g. apples.", ["Good.", "Done!", "Fruit, e.g. apples."]),
        ("你好。你好吗？我很好！", ["你好。", "你好吗？", "我很好！"]),
        ("そうです。「はい！」と言った。", ["そうです。", "「はい！」", "と言った。"]),
        ("안녕하세요. 반갑습니다.", ["안녕하세요.", "반갑습니다."]),
        ("ไปไหนมา วันนี้ร้อนมาก", ["ไปไหนมา วันนี้ร้อนมาก"]),
        ("It costs 3.50 dollars.", ["It costs 3.50 dollars."]),
    ],
)
def test_sentences(text: str, sentences: list[str]) -> None:
    assert moved(text, "sentence") == sentences


def test_a_long_stretch_is_halved_at_the_best_border() -> None:
    def cut(text: str, most: int) -> list[str]:
        return [p.text for p in split(text, "text", fits=lambda part: len(part) <= most) if not p.kept]

    assert cut("One two. Three, four five six.", 22) == ["One two.", "Three, four five six."]
    assert cut("one two three, four five", 20) == ["one two three,", "four five"]
    assert cut("one two three four", 10) == ["one two", "three four"]
    assert cut("ไปไหนมา วันนี้ร้อนมาก", 15) == ["ไปไหนมา", "วันนี้ร้อนมาก"]
    assert cut("你好世界", 2) == ["你好", "世界"]


def test_a_vowel_stays_with_its_consonant() -> None:
    halves = [p.text for p in split("กากีกูก", "text", fits=lambda part: len(part) <= 4)]
    assert halves == ["กากี", "กูก"]


def test_sentences_are_spaced_as_the_target_language_does() -> None:
    chinese = split("你好。再见。", "sentence")
    assert join(chinese, {"你好。": "Hello.", "再见。": "Goodbye."}, "en") == "Hello. Goodbye."
    english = split("Hello. Goodbye.", "sentence")
    assert join(english, {"Hello.": "你好。", "Goodbye.": "再见。"}, "zh") == "你好。再见。"
    assert join(english, {"Hello.": "สวัสดี", "Goodbye.": "ลาก่อน"}, "th") == "สวัสดี ลาก่อน"


def test_one_failed_stretch_fails_its_text() -> None:
    pieces = [Piece("a", kept=False), Piece("\n", kept=True), Piece("b", kept=False)]
    failed = Translation(None, "no such word")
    assert assemble(pieces, {"a": Translation("x"), "b": failed}, "en") == failed
    assert assemble(pieces, {"a": Translation("x"), "b": Translation("y")}, "en") == Translation("x\ny")


def test_an_unknown_unit_is_refused() -> None:
    with pytest.raises(ConfigError, match="unit='word'"):
        split("a", "word")  # type: ignore[arg-type]


def test_a_megabyte_without_a_border_is_cut() -> None:
    assert len(split("ก" * 1_000_000, "sentence", fits=lambda part: len(part) <= 1000)) == 1024
