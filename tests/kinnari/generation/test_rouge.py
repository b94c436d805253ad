"""ROUGE in any script: by hand, and against slow counts and a slow longest common subsequence."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinnari.generation.rouge import ROUGE, rouge, rouge_l, rouge_tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("It's 3 km.", ["it", "s", "3", "km"]),
        ("ＡＢＣ Größe", ["abc", "grösse"]),
        ("น้ำ", ["น้", "า"]),
        ("你好, world", ["你", "好", "world"]),
        ("한국어를", ["한", "국", "어", "를"]),
        ("がんばれGPT4", ["が", "ん", "ば", "れ", "gpt4"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("...!", []),
    ],
)
def test_tokens_follow_the_script(text: str, tokens: list[str]) -> None:
    found = rouge_tokens(text)
    # NFKC writes Thai sara am as two characters, the first of them a mark
    assert [t.replace("\u0e4d", "") for t in found] == tokens


def test_hand_worked_scores() -> None:
    scores = rouge(["The cat on mats"], ["the cat sat on a mat"])
    # words in common: the cat on = 3 of 4 and 3 of 6, F 0.6; pairs: the cat = 1 of 3 and 1 of 5, F 0.25; in order: the cat on again
    assert scores == {name: [pytest.approx(value)] for name, value in zip(ROUGE, (0.6, 0.25, 0.6, 0.6), strict=True)}


def test_lines_may_come_in_another_order_in_lsum_alone() -> None:
    scores = rouge(["สวัสดี\nhow are you"], ["how are you\nสวัสดี"])
    # 3 words and 4 Thai tokens with their marks: as one text only the longer line is in order
    assert rouge_tokens("สวัสดี") == ["ส", "วั", "ส", "ดี"]
    assert scores["rougeL"] == [pytest.approx(4 / 7)]
    assert scores["rougeLsum"] == [pytest.approx(1.0)]


@pytest.mark.parametrize("text", ["สวัสดีครับ", "안녕하세요", "你好", "こんにちは", "Hello there"])
def test_an_equal_answer_scores_one(text: str) -> None:
    assert rouge([text], [text]) == {name: [1.0] for name in ROUGE}


def test_empty_answers_score_zero() -> None:
    assert rouge(["", "...", "x"], ["x", "x", ""]) == {name: [0.0] * 3 for name in ROUGE}


@given(st.text("ab กข", min_size=1, max_size=8), st.text("ab กข", min_size=1, max_size=8))
def test_scores_are_those_of_slow_counts(one: str, other: str) -> None:
    a, b = rouge_tokens(one), rouge_tokens(other)

    @lru_cache(None)
    def common(i: int, j: int) -> int:
        if i == len(a) or j == len(b):
            return 0
        return 1 + common(i + 1, j + 1) if a[i] == b[j] else max(common(i + 1, j), common(i, j + 1))

    def f(hits: int, said: int, wanted: int) -> float:
        return 2 * hits / (said + wanted) if hits else 0.0

    def shared(n: int) -> float:
        grams = [Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)) for tokens in (a, b)]
        return f((grams[0] & grams[1]).total(), grams[0].total(), grams[1].total())

    expected = {"rouge1": shared(1), "rouge2": shared(2), "rougeL": f(common(0, 0), len(a), len(b))}
    found = rouge([one], [other])
    assert {name: found[name][0] for name in expected} == {name: pytest.approx(value) for name, value in expected.items()}
    assert found["rougeLsum"] == found["rougeL"] == rouge_l([one], [other]), "one line"
