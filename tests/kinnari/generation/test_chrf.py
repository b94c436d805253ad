"""chrF: by hand, and against n-grams counted slowly."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinnari.errors import ConfigError
from kinnari.generation.chrf import chrf

TEXT = st.text("ab กข。", max_size=9)


def test_hand_worked_score() -> None:
    # letters 2 of 2 said, 2 of 3 wanted; pairs 1 of 1, 1 of 2; no triple is said. P = 1, R = (2/3 + 1/2) / 2, F2 = 5 P R / (4 P + R)
    recall = (2 / 3 + 1 / 2) / 2
    assert chrf(["ab"], ["abc"]) == pytest.approx(100 * 5 * recall / (4 + recall))


@pytest.mark.parametrize("text", ["สวัสดีครับ", "안녕하세요", "你好吗", "こんにちは", "Hello there"])
@pytest.mark.parametrize("word_order", [0, 2])
def test_an_equal_answer_scores_a_hundred(text: str, word_order: int) -> None:
    assert chrf([text], [text], word_order) == pytest.approx(100.0)


def test_words_count_in_chrf_plus_plus_alone() -> None:
    # the same letters in the same order, cut into other words
    assert chrf(["to day"], ["today"]) == pytest.approx(100.0)
    assert chrf(["to day"], ["today"], word_order=2) < 100.0


@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=4))
def test_counts_are_summed_over_the_corpus_before_the_score_is_taken(pairs: list[tuple[str, str]]) -> None:
    def grams(text: str, order: int) -> Counter[str]:
        letters = "".join(text.split())
        return Counter(letters[i : i + order] for i in range(len(letters) - order + 1))

    precisions, recalls = [], []
    for order in range(1, 7):
        counted = [(grams(said, order), grams(wanted, order)) for said, wanted in pairs]
        # what is said where nothing is wanted does not count against the answer
        said = sum(h.total() for h, r in counted if r)
        wanted = sum(r.total() for _, r in counted)
        common = sum((h & r).total() for h, r in counted)
        if said and wanted:
            precisions.append(common / said)
            recalls.append(common / wanted)
    precision = sum(precisions) / max(1, len(precisions))
    recall = sum(recalls) / max(1, len(recalls))
    expected = 500 * precision * recall / (4 * precision + recall) if precision + recall else 0.0
    assert chrf([a for a, _ in pairs], [b for _, b in pairs]) == pytest.approx(expected, abs=1e-9)


def test_another_word_order_is_refused() -> None:
    with pytest.raises(ConfigError, match="chrF"):
        chrf(["a"], ["a"], word_order=1)
