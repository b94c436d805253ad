"""Each rule by its name, in five languages, with the shipped lists."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from kinnari.bootstrap.filters import InstructionFilters
from kinnari.bootstrap.seeds import read_seed_tasks
from kinnari.errors import ConfigError
from kinnari.tasks.compose import conf_folder


def shipped(name="multilingual"):
    text = (conf_folder() / "bootstrap" / "filters" / f"{name}.yaml").read_text(encoding="utf-8")
    return InstructionFilters(**yaml.safe_load(text)).compile()


RULE, ORIGINAL = shipped(), shipped("original")


@pytest.mark.parametrize(
    ("instruction", "reason"),
    [
        ("Explain it now", "too_short"),
        ("Explain it right now", None),
        ("word " * 150, None),
        ("word " * 151, "too_long"),
        ("", "too_short"),
        ("Describe what the Image shows", "unwanted_word"),
        ("Where should I go to in May", "unwanted_word"),
        ("Explain why imagery matters in poems", None),
        ("Compare profiles of two candidates briefly", None),
        ("Write a program that adds numbers", "unwanted_start"),
        ("write a Program that adds numbers", "unwanted_start"),
        ("Please write a program that adds numbers", None),
        ("- list five large rivers", "punctuation_first"),
        ("«Bonjour» means what in English", "punctuation_first"),
        ("$5 is how many euros", "punctuation_first"),
        ("3 plus 4 makes what number", None),
        ("อธิบายความหมายของคำว่ามิตรภาพ", None),
        ("แปล", "too_short"),
        ("อธิบายสิ่งที่เห็นในรูปภาพนี้", "unwanted_word"),
        ("อธิบายรูปแบบของกลอนแปดให้เข้าใจ", None),
        ("เขียนข้อความแนะนำตัวสำหรับโปรไฟล์หางาน", None),
        ("เปิดไฟล์นี้แล้วสรุปให้ที", "unwanted_word"),
        ("เขียนโปรแกรมหาผลรวมของตัวเลข", "unwanted_start"),
        ("다음 그림을 보고 설명하세요", "unwanted_word"),
        ("이 지도에서 서울을 찾으세요", "unwanted_word"),
        ("훌륭한 지도자의 조건을 설명하세요", None),
        ("프로그램을 작성하여 합을 구하세요", "unwanted_start"),
        ("请描述这张图片里的内容", "unwanted_word"),
        ("请解释什么是光合作用", None),
        ("写一个程序计算两个数的和", "unwanted_start"),
        ("この画像を見て説明してください", "unwanted_word"),
        ("自己紹介のプロファイルを書いてください", None),
        ("このファイルを要約してください", "unwanted_word"),
        ("「猫」を英語に訳してください", "punctuation_first"),
    ],
)
def test_the_first_rule_that_is_broken_is_named(instruction, reason):
    assert RULE(instruction) == reason


def test_the_published_rules_take_ascii_alone():
    assert ORIGINAL("ขอสูตรทำแกงเขียวหวานสำหรับสี่คน") == "not_ascii_first"
    assert ORIGINAL("Écris une phrase simple ici") == "not_ascii_first"
    assert ORIGINAL("Explain it right now") is None


def test_the_shipped_seeds_pass_the_shipped_rules():
    assert {seed.id: RULE(seed.instruction) for seed in read_seed_tasks() if RULE(seed.instruction)} == {}


def test_a_word_is_seen_beside_another_script():
    assert RULE("이 image를 자세히 설명해 주세요") == "unwanted_word"


@settings(deadline=None)
@given(st.text())
def test_any_text_is_judged(text):
    assert RULE(text) in {None, "too_short", "too_long", "unwanted_word", "unwanted_start", "punctuation_first"}


def test_without_lists_nothing_is_unwanted():
    assert InstructionFilters(fewest_words=0).compile()("Draw a map") is None
    assert InstructionFilters(fewest_words=0).compile()("") is None


@pytest.mark.parametrize(
    "values",
    [{"fewest_words": 5, "most_words": 4}, {"most_similar": 0}, {"most_similar": 1.5}, {"unwanted_words": {"no": [False]}},
     {"unwanted_starts": [""]}],
)  # fmt: skip
def test_figures_out_of_range_are_refused(values):
    with pytest.raises(ConfigError):
        InstructionFilters(**values)
