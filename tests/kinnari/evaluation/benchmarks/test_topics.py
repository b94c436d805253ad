"""TNEWS and IFLYTEK: sampled and all classes."""

from __future__ import annotations

from collections import Counter

import pytest

from kinnari.errors import ConfigError
from kinnari.evaluation.benchmarks import IFLYTEK, TNEWS
from kinnari.evaluation.benchmarks.iflytek_labels import IFLYTEK_WORDS

NEWS = [{"label": label, "label_desc": "x", "sentence": f"新闻{label}{i}"} for i in range(30) for label in (100, "107", 116)]


def test_four_candidates_hold_the_right_one_anywhere(tmp_path, write):
    write("tnews/dev.json", NEWS)
    questions = TNEWS(name="tnews", data_dir=str(tmp_path)).questions()
    assert {len(question.candidates) for question in questions} == {4}
    assert all(len(set(question.labels)) == 4 for question in questions)
    right = Counter(question.candidates[question.gold].label for question in questions)
    assert right == {"故事": 30, "汽车": 30, "游戏": 30}
    assert set(Counter(question.gold for question in questions)) == {0, 1, 2, 3}
    wrong = Counter(label for question in questions for place, label in enumerate(question.labels) if place != question.gold)
    assert len(wrong) == 15  # every class is drawn


def test_all_classes_may_be_compared(tmp_path, write):
    write("tnews/dev.json", NEWS[:1])
    (question,) = TNEWS(name="tnews", data_dir=str(tmp_path), candidates="all", scoring="sequence").questions()
    assert len(question.candidates) == 15 and question.texts[question.gold] == "这是关于故事的文章:新闻1000"


def test_another_seed_samples_others(tmp_path, write):
    write("tnews/dev.json", NEWS)
    first, second = (TNEWS(name="tnews", data_dir=str(tmp_path), seed=seed).questions() for seed in (1, 2))
    assert sum(set(a.labels) == set(b.labels) for a, b in zip(first, second, strict=True)) < 20


def test_iflytek_has_119_words_in_the_order_of_their_numbers(tmp_path, write):
    assert list(IFLYTEK_WORDS) == [str(number) for number in range(119)] and len(set(IFLYTEK_WORDS.values())) == 119
    # As FewCLUE's rows and system R's list have them.
    assert [IFLYTEK_WORDS[number] for number in ("0", "2", "17", "61", "113", "118")] == [
        "打车",
        "免费WIFI",
        "休闲益智",
        "语言(非英语)",
        "办公",
        "其他",
    ]
    write("iflytek/dev.json", [{"label": "113", "label_des": "办公", "sentence": "移动办公"}])
    (question,) = IFLYTEK(name="iflytek", data_dir=str(tmp_path), candidates="all").questions()
    assert len(question.candidates) == 119 and question.texts[question.gold] == "应用程序：移动办公\n这个应用程序是关于办公"


def test_a_class_that_is_none_is_named(tmp_path, write):
    write("tnews/dev.json", [{"label": 105, "sentence": "x"}])
    with pytest.raises(ConfigError, match="line 1: label '105' is none of 100, 101"):
        TNEWS(name="tnews", data_dir=str(tmp_path)).questions()
    write("iflytek/dev.json", [{"label": 1, "label_des": "办公", "sentence": "x"}])
    with pytest.raises(ConfigError, match="label 1 is '地图导航', and label_des says '办公'"):
        IFLYTEK(name="iflytek", data_dir=str(tmp_path)).questions()


def test_without_answers_nothing_can_be_sampled(tmp_path, write):
    write("tnews/test.json", [{"id": 0, "sentence": "x"}])
    with pytest.raises(ConfigError, match=r"candidates=sampled: .*test\.json has no answers"):
        TNEWS(name="tnews", data_dir=str(tmp_path), split="test").questions()
    (question,) = TNEWS(name="tnews", data_dir=str(tmp_path), split="test", candidates="all").questions()
    assert question.gold is None
