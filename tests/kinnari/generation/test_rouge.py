"""ROUGE-L in any script, against a slow longest common subsequence."""

from __future__ import annotations

from functools import lru_cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinnari.generation.rouge import rouge_l, rouge_tokens


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


def test_hand_worked_score() -> None:
    # longest common subsequence "the cat on" = 3 of 4 and 3 of 6 words: P 3/4, R 3/6, F 0.6
    assert rouge_l(["The cat on mats"], ["the cat sat on a mat"]) == [pytest.approx(0.6)]


@pytest.mark.parametrize("text", ["สวัสดีครับ", "안녕하세요", "你好", "こんにちは", "Hello"])
def test_an_equal_answer_scores_one(text: str) -> None:
    assert rouge_l([text], [text]) == [1.0]


def test_empty_answers_score_zero() -> None:
    assert rouge_l(["", "..."], ["x", "x"]) == [0.0, 0.0]


@given(st.text("ab กข", min_size=1, max_size=8), st.text("ab กข", min_size=1, max_size=8))
def test_the_score_is_that_of_a_slow_longest_common_subsequence(one: str, other: str) -> None:
    a, b = rouge_tokens(one), rouge_tokens(other)

    @lru_cache(None)
    def common(i: int, j: int) -> int:
        if i == len(a) or j == len(b):
            return 0
        return 1 + common(i + 1, j + 1) if a[i] == b[j] else max(common(i + 1, j), common(i, j + 1))

    found = common(0, 0)
    expected = 2 * found / (len(a) + len(b)) if found else 0.0
    assert rouge_l([one], [other]) == [pytest.approx(expected, abs=1e-6)]
