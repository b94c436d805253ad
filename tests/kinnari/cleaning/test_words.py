from __future__ import annotations

import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kinnari.cleaning.words import WORD, pieces, word_count


def test_a_word_is_four_characters_of_thai_two_of_chinese_and_one_run_of_letters_elsewhere():
    cut = pieces("กา 猫か word 한국어 3")
    assert cut.weights.tolist() == [1, 1, 2, 2, 4, 4, 4]
    assert cut.sizes.tolist() == [1, 1, 1, 1, 4, 3, 1]
    assert word_count("กา 猫か word 한국어 3") == 5  # 18 / 4, rounded up


def test_hindi_and_arabic_words_are_not_cut_at_their_vowel_marks():
    assert word_count("हिन्दी भाषा") == 2
    assert word_count("مُحَمَّد كتاب") == 2


def test_case_and_width_make_no_difference_punctuation_none_at_all():
    assert pieces("Ｈello, WORLD!").ids.tolist() == pieces("hello world").ids.tolist()


def test_pieces_of_a_sentence_are_the_same_wherever_it_stands():
    inside = pieces("Q: 猫が座った and then ไป. The end").ids.tolist()
    alone = pieces("猫が座った and then ไป").ids.tolist()
    assert inside[1 : 1 + len(alone)] == alone


def test_ids_are_the_same_in_another_process():
    code = "from kinnari.cleaning.words import pieces; print(pieces('แมว cat 猫').ids.tolist())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == str(pieces("แมว cat 猫").ids.tolist())


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_has_pieces(text):
    cut = pieces(text)
    assert len(cut.ids) == len(cut.weights) == len(cut.sizes) and cut.ids.dtype == np.uint64
    assert set(cut.weights.tolist()) <= {WORD, WORD // 2, WORD // 4}
