from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinnari.cleaning import ExactDuplicates, NearDuplicates
from kinnari.errors import ConfigError
from tests.kinnari.cleaning.chats import chat, turns


def duplicates(step, conversations) -> list[int]:
    result = step.duplicate_of(np.stack([step.signature(c) for c in conversations]))
    assert result.dtype == np.int64
    return result.tolist()


def test_the_first_of_equal_conversations_stays():
    chats = [chat("ทำไม", "เพราะ"), chat("왜", "그냥"), chat("ทำไม", "เพราะ", source="other"), chat("왜", "몰라"), chat("ทำไม", " เพราะ ")]
    assert duplicates(ExactDuplicates(), chats) == [-1, -1, 0, -1, 0]


def test_a_context_a_system_turn_and_further_turns_make_a_difference():
    chats = [chat("a", "b"), chat("a", "b", context="c"), turns("a", "b", system="s"), turns("a", "b", "c", "d")]
    assert duplicates(ExactDuplicates(), chats) == [-1, -1, -1, -1]


def test_texts_do_not_run_into_one_another():
    assert duplicates(ExactDuplicates(), [turns("ab", "x", "c", "x"), turns("a", "x", "bc", "x")]) == [-1, -1]
    assert duplicates(ExactDuplicates(), [chat("a", "", context="b"), chat("a", "b")]) == [-1, -1]


def test_what_is_compared_is_a_choice():
    chats = [chat("번역해", "네", context="yes"), chat("옮겨", "네", context="yes"), chat("번역해", "예", context="yes")]
    assert duplicates(ExactDuplicates(where=["inputs", "answers"]), chats) == [-1, 0, -1]
    assert duplicates(ExactDuplicates(where=["questions", "contexts"]), chats) == [-1, -1, 0]


def test_folding_is_a_choice():
    chats = [chat("Ｗhat is AI?", "a"), chat("what is ai", "A!"), chat("มา", "ม้า"), chat("มา", "มา")]
    assert duplicates(ExactDuplicates(), chats) == [-1, -1, -1, -1]
    assert duplicates(ExactDuplicates(normalised=True), chats) == [-1, 0, -1, -1]


def test_no_conversations_have_no_duplicates():
    assert ExactDuplicates().duplicate_of(np.empty((0, 2), np.uint64)).tolist() == []
    assert NearDuplicates().duplicate_of(np.empty((0, 128), np.uint64)).tolist() == []


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=40))
def test_exact_duplicates_agree_with_a_dictionary(rows):
    first: dict[tuple[int, int], int] = {}
    expected = [-1 if first.setdefault(row, i) == i else first[row] for i, row in enumerate(rows)]
    assert ExactDuplicates().duplicate_of(np.array(rows, dtype=np.uint64).reshape(-1, 2)).tolist() == expected


NEAR = {
    "en": ("Describe how a bill becomes a law in the country you know best, step by step.", "best", "most"),
    "th": ("อธิบายขั้นตอนการทำต้มยำกุ้งน้ำข้นแบบง่ายสำหรับมือใหม่ที่ไม่เคยเข้าครัวมาก่อนเลยในชีวิต", "ง่าย", "ย่อ"),
    "zh": ("请详细介绍一下中国古代四大发明对世界文明发展产生的深远影响以及它们的历史背景", "详细", "简单"),
    "ko": ("한국의 전통 음식인 김치를 집에서 처음 담그는 사람을 위해 순서대로 자세히 설명해 주세요.", "자세히", "간단히"),
    "ja": ("日本の伝統的な茶道の作法について初めて体験する外国人にも分かるように丁寧に説明してください", "丁寧", "簡潔"),
}


@pytest.mark.parametrize(("text", "word", "other"), NEAR.values(), ids=NEAR)
def test_texts_that_differ_in_a_word_are_near_duplicates_in_every_language(text, word, other):
    chats = [chat("Q unrelated altogether", "completely different"), chat(text, text[::-1]), chat(text.replace(word, other), text[::-1])]
    assert duplicates(NearDuplicates(threshold=0.7), chats) == [-1, -1, 1]


def test_questions_about_one_passage_are_not_near_duplicates():
    passage = NEAR["th"][0] * 20
    chats = [chat("ใครเป็นผู้แต่ง", "สุนทรภู่", context=passage), chat("เรื่องเกิดขึ้นที่ไหน", "อยุธยา", context=passage)]
    assert duplicates(NearDuplicates(), chats) == [-1, -1]


def test_texts_to_be_classified_are_not_near_duplicates():
    instruction = "Say whether the following review is positive, negative or neutral, and answer with that one word alone."
    chats = [
        chat(instruction, "positive", context="A joy from start to end."),
        chat(instruction, "positive", context="I would buy it again."),
    ]
    assert duplicates(NearDuplicates(), chats) == [-1, -1]
    assert duplicates(NearDuplicates(), [chats[0], chats[0]]) == [-1, 0]


def test_a_signature_has_num_perm_numbers_whatever_the_conversation_has():
    for conversation in (chat("", ""), chat("a", None), chat("a", "b", context="c"), turns("a", "b", system="s")):
        signature = NearDuplicates(num_perm=100).signature(conversation)
        assert signature.shape == (100,) and signature.dtype == np.uint64


def test_many_rows_with_one_answer_take_no_time():
    chats = [chat(f"Is {i * 7919} a prime number, and how can one find out?"[i % 5 :], "no") for i in range(3000)]
    step = NearDuplicates(threshold=0.95, num_perm=32)
    step.duplicate_of(np.stack([step.signature(c) for c in chats]))


@pytest.mark.parametrize("settings", [{"threshold": 0}, {"threshold": 80}, {"ngram": 0}, {"num_perm": 4}])
def test_settings_that_cannot_work_are_refused(settings):
    with pytest.raises(ConfigError, match="NearDuplicates"):
        NearDuplicates(**settings)
