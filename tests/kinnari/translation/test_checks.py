"""Each check catches what it is for, and lets good translations pass."""

from __future__ import annotations

import re
import time

import pytest

from kinnari.errors import ConfigError
from kinnari.translation.checks import TranslationChecks, placeholders
from kinnari.translation.passages import split

CHECKS = TranslationChecks()
LONG_EN = "The quick brown fox jumps over the lazy dog and runs into the deep forest."


@pytest.mark.parametrize(
    ("text", "translation", "source", "target"),
    [
        ("Good morning", "สวัสดีตอนเช้า", "en", "th"),
        ("What is artificial intelligence and why does it matter?", "인공지능이란 무엇이며 왜 중요한가요?", "en", "ko"),
        ("What is artificial intelligence and why does it matter?", "什么是人工智能？它为什么重要？", "en", "zh"),
        ("什么是人工智能？它会改变我们的生活吗？", "What is artificial intelligence? Will it change our lives?", "zh", "en"),
        ("See https://example.org/a.", "ดู https://example.org/a", "en", "th"),
        ("Hello {name}, call `run()`", "สวัสดี {name} เรียก `run()`", "en", "th"),
        ("Look:\n```\nx\n```", "ดู:\n```\nx\n```", "en", "th"),
        ("OpenAI", "OpenAI", "en", "th"),
        ("42", "42", "en", "th"),
        ("", "", "en", "th"),
        ("Use Python and PyTorch for deep learning", "ใช้ Python และ PyTorch สำหรับ deep learning", "en", "th"),
    ],
)  # fmt: skip
def test_good_translations_pass(text: str, translation: str, source: str, target: str) -> None:
    assert CHECKS.problem(text, translation, source, target) is None


@pytest.mark.parametrize(
    ("text", "translation", "source", "target", "reason"),
    [
        ("Good morning", " ", "en", "th", "empty"),
        (LONG_EN, LONG_EN, "en", "th", "the translation is the source"),
        ("Good morning", "Good evening", "en", "th", "only 0% of the letters are those of Thai"),
        ("Good morning", "早上好", "en", "ko", "Korean"),
        (LONG_EN, "ไป", "en", "th", "times as long"),
        ("Good morning everybody here", "ค" * 200, "en", "th", "times as long"),
        ("Hello {name}", "สวัสดี", "en", "th", r"placeholder \{name\} is lost"),
        ("Call `run()` now", "เรียก ตอนนี้", "en", "th", r"`run\(\)` is lost"),
        ("Look:\n```\nx = 1\n```", "ดู:\n```\nx = ๑\n```", "en", "th", "code block"),
        ("Look:\n```\nx\n```", "ดู", "en", "th", "code block"),
        (LONG_EN, "A quick brown fox jumps over that lazy dog, then runs into the forest.", "en", "fr", "still in English"),
    ],
)
def test_bad_translations_are_caught(text: str, translation: str, source: str, target: str, reason: str) -> None:
    found = CHECKS.problem(text, translation, source, target)
    assert found is not None and re.search(reason, found)


def test_a_check_can_be_turned_off() -> None:
    off = TranslationChecks(ratio=None, script=0.0, same_letters=10**9, placeholders=False, code_blocks=False)
    assert off.problem("Hello {name}\n```\nx\n```", "x", "en", "th") is None
    assert off.problem(LONG_EN, LONG_EN, "en", "th") is None


def test_placeholders_are_counted() -> None:
    text = "{a} {a} %s %(n)d ${HOME} {{ user }} [URL] me@x.org (https://a.b/c). { not one } [this] 50% `x {b}`"
    assert placeholders(text) == {
        "{a}": 2, "%s": 1, "%(n)d": 1, "${HOME}": 1, "{{ user }}": 1, "[URL]": 1, "me@x.org": 1, "https://a.b/c": 1, "`x {b}`": 1,
    }  # fmt: skip


@pytest.mark.parametrize("values", [{"ratio": (3, 2)}, {"ratio": (1,)}, {"script": 2}])
def test_impossible_bounds_are_refused(values: dict) -> None:
    with pytest.raises(ConfigError, match=r"task\.checks"):
        TranslationChecks(**values)


@pytest.mark.parametrize("stretch", ["a", "`", "{", "{a", "[A", "%(a", "~~~\n", "```\n", "1. ", ". ", " ", "\n", "https://", "ก", "{{a "])
def test_a_long_text_takes_no_longer_than_its_length(stretch: str) -> None:
    text = stretch * 40_000
    began = time.perf_counter()
    CHECKS.problem(text, "ก" + text, "en", "th")
    split(text, "sentence")
    assert time.perf_counter() - began < 30.0  # quadratic time would be many minutes
