"""Similarity: equal to the rouge_score package for English, by hand for other scripts, the same as a slow loop for all."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score import rouge_scorer

from kinnari.bootstrap.similarity import InstructionIndex
from kinnari.generation.rouge import rouge_tokens


def slow_lcs(a: list[str], b: list[str]) -> int:
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


def slow_f(a: str, b: str) -> float:
    x, y = rouge_tokens(a), rouge_tokens(b)
    common = slow_lcs(x, y)
    return 2 * common / (len(x) + len(y)) if common else 0.0


WORDS = st.lists(st.sampled_from(["write", "Poem", "the", "a", "sea", "it's", "e-mail", "3rd", "snake_case", "...", "rain!"]), max_size=14)


@settings(deadline=None)
@given(st.lists(WORDS.map(" ".join), min_size=1, max_size=6), WORDS.map(" ".join))
def test_english_scores_are_those_of_rouge_score_to_the_last_bit(references, text):
    scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
    expected = [scorer.score(reference, text)["rougeL"].fmeasure for reference in references]
    assert InstructionIndex(references).scores(text).tolist() == expected


MIXED = st.text(st.sampled_from("กาก่ำเ가나다中文字かなカ abXY12!? 👍"), max_size=25)


@settings(deadline=None)
@given(st.lists(MIXED, max_size=6), MIXED)
def test_every_script_scores_as_a_plain_loop_scores(references, text):
    scores = InstructionIndex(references).scores(text)
    assert scores.tolist() == pytest.approx([slow_f(text, reference) for reference in references])


def test_scores_worked_by_hand():
    index = InstructionIndex(["แปลเป็นไทย", "번역하세요", "翻译成英文", "英語に訳して"])
    assert index.scores("翻译成中文").tolist() == pytest.approx([0, 0, 0.8, 0])  # 4 of 5 characters in order
    assert index.scores("번역해 주세요").tolist() == pytest.approx([0, 2 * 4 / 11, 0, 0])  # 번 역 세 요, of 5 and 6
    assert index.scores("แปลเป็นลาว")[0] == pytest.approx(6 / 9)  # แ ป ล เ ป็ น of 9 characters each, marks upon them
    assert index.scores("?!").tolist() == [0, 0, 0, 0]


def test_the_nearest_come_first_with_ties_in_the_order_they_were_added():
    index = InstructionIndex(["one two", "one three", "four", "one two"])
    found = index.resemblance("one two", most=3)
    assert list(found.nearest.items()) == [("one two", 1.0), ("one three", 0.5)]
    assert found.mean == pytest.approx((1 + 0.5 + 0 + 1) / 4)
    assert found.highest == 1.0
    assert index.resemblance("five").highest == 0.0


def test_an_empty_index_resembles_nothing():
    found = InstructionIndex().resemblance("anything")
    assert (found.nearest, found.mean, found.highest) == ({}, 0.0, 0.0)


def test_more_instructions_than_were_reserved_and_huge_ones_are_compared():
    index = InstructionIndex(f"task number {i}" for i in range(3000))
    assert len(index) == 3000
    assert index.resemblance("task number 2999").nearest["task number 2999"] == 1.0
    assert index.scores("word " * 70_000).max() < 0.01


@settings(deadline=None)
@given(st.text())
def test_no_text_breaks_it(text):
    index = InstructionIndex([text, "写一首诗"])
    scores = index.scores(text)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert scores[0] == (1.0 if rouge_tokens(text) else 0.0)
