"""Exact match and F1 of generated answers, worked by hand and against a slow computation."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinnari.evaluation.benchmarks.reading_scores import (
    character_f1,
    exact_match,
    legacy_exact_match,
    legacy_token_f1,
    units,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("《Windows XP》发布于2001年。", ["windows", "xp", "发", "布", "于", "2001", "年"]),
        ("A-B：C", ["abc"]),  # marks are left out before anything is parted
        ("……", ["……"]),  # the script's list holds the two characters as one entry, which no character equals
        ("Yes, it's 3.5!", ["yes", ",", "it", "'s", "3.5", "!"]),  # punctuation of Latin text stays, as nltk parts it
        ("  ，。 ", []),
        ("", []),
    ],
)
def test_chinese_is_parted_by_characters_and_the_rest_by_words(text, expected):
    assert units(text) == expected


@pytest.mark.parametrize(
    ("prediction", "answers", "f1", "em"),
    [
        # Longest run 北京 (2) of 5 and 5 units; a common subsequence would have 4 (北京大学) and give 0.8.
        ("在北京大学", ["北京的大学"], 2 * 2 / (5 + 5), 0),
        ("北京大学。", ["北京大学"], 1, 1),
        ("《北京大学》", ["北京，大学"], 1, 1),
        ("windows xp系统", ["Windows XP"], 2 * 2 / (4 + 2), 0),
        ("", ["北京"], 0, 0),
        ("北京", [""], 0, 0),
        ("", [""], 0, 1),  # as the script has it: no run, so no F1, and equal texts
        ("上海", ["北京", "上海市"], 2 * 2 / (2 + 3), 0),  # the best answer counts
        ("天安门", ["故宫"], 0, 0),
    ],
)
def test_scores_by_hand(prediction, answers, f1, em):
    assert character_f1(prediction, answers) == pytest.approx(f1)
    assert exact_match(prediction, answers) == em


SHORT = st.text("北京大学a ，。-", max_size=8)


@given(SHORT, st.lists(SHORT, min_size=1, max_size=3))
def test_f1_is_that_of_the_longest_common_run(prediction, answers):
    def slow(answer: str) -> float:
        first, second = units(prediction), units(answer)
        runs = {tuple(first[i:j]) for i in range(len(first)) for j in range(i + 1, len(first) + 1)}
        runs &= {tuple(second[i:j]) for i in range(len(second)) for j in range(i + 1, len(second) + 1)}
        common = max(map(len, runs), default=0)
        if not common:
            return 0.0
        precision, recall = common / len(first), common / len(second)
        return 2 * precision * recall / (precision + recall)

    assert character_f1(prediction, answers) == pytest.approx(max(map(slow, answers)))


@given(SHORT, SHORT)
def test_f1_does_not_ask_which_side_is_right(first, second):
    assert character_f1(first, [second]) == pytest.approx(character_f1(second, [first]))


def test_system_r_counts_its_models_tokens():
    def tokenize(text: str) -> list[int]:
        return [ord(character) for character in text]

    assert legacy_token_f1("学大京北", ["北京大学"], tokenize) == 1  # a bag has no order
    assert legacy_token_f1("北北京", ["北京"], tokenize) == pytest.approx(2 * 2 / (3 + 2))
    assert (legacy_token_f1("", [""], tokenize), legacy_token_f1("", ["x"], tokenize)) == (1, 0)
    assert (legacy_exact_match("北京", ["北京"]), legacy_exact_match("北京。", ["北京"])) == (1, 0)


@given(SHORT, SHORT)
def test_the_bag_f1_counts_repeated_tokens(first, second):
    def tokenize(text: str) -> list[int]:
        return [ord(character) for character in text]

    pool, common = Counter(second), 0
    for character in first:
        if pool[character]:
            pool[character] -= 1
            common += 1
    expected = 1.0 if not first and not second else 2 * common / (len(first) + len(second))
    assert legacy_token_f1(first, [second], tokenize) == pytest.approx(expected)
