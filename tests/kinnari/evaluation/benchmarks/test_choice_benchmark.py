"""From a folder to questions: draws, shots, order, the majority."""

from __future__ import annotations

import json
import math
import random

import pytest

from kinnari.errors import ConfigError
from kinnari.evaluation.benchmarks import AFQMC, OCNLI, TNEWS

CLASSES = ("100", "101", "102", "103")
DEV = [{"label": CLASSES[number % 4], "sentence": f"句子{number}"} for number in range(40)]
TRAIN = [{"label": CLASSES[number % 3], "sentence": f"训练{number}"} for number in range(30)] + DEV[:1]


@pytest.fixture
def folder(tmp_path, write) -> str:
    write("tnews/dev.json", DEV)
    write("tnews/train.json", TRAIN)
    return str(tmp_path)


def test_the_order_of_the_files_changes_nothing(tmp_path, write, folder):
    settings = {"name": "tnews", "shots": 3, "limit": 10}
    chance = random.Random(0)
    other = tmp_path / "other"
    for name, rows in (("dev", DEV), ("train", TRAIN)):
        write(f"other/{name}.json", chance.sample(rows, len(rows)))
    first, second = (TNEWS(data_dir=place, **settings).questions() for place in (folder, str(other)))
    by_text = {question.texts[question.gold]: (question.texts, question.gold) for question in second}
    assert len(first) == 10 and {question.texts[question.gold]: (question.texts, question.gold) for question in first} == by_text


def test_shots_are_the_same_for_all_come_from_train_and_end_with_the_separator(folder):
    questions = TNEWS(name="tnews", data_dir=folder, shots=3).questions()
    (header,) = {question.header for question in questions}
    shots = header.split("\n\n")
    assert shots[-1] == "" and len(shots) == 4 and "句子" not in header
    gold = {f"文章：{row['sentence']}\n这篇文章是关于" + {"100": "故事", "101": "文化", "102": "娱乐"}[row["label"]] for row in TRAIN[:30]}
    assert set(shots[:3]) <= gold
    assert questions[0].texts[0].startswith(header + "文章：")


def test_published_shots_are_joined_by_line_breaks(folder):
    question = TNEWS(name="tnews", data_dir=folder, shots=2, scoring="sequence").questions()[0]
    assert [line[:4] for line in question.header.split("\n")] == ["这是关于", "这是关于", ""]


def test_shots_stay_within_their_tokens_and_the_models(folder):
    whole = TNEWS(name="tnews", data_dir=folder, shots=4).questions()[0].header
    some = TNEWS(name="tnews", data_dir=folder, shots=4, shot_tokens=len(whole) - 1).questions(len)[0].header
    assert whole.startswith(some) and some.count("\n\n") == 3
    most = len(some) + 2 + max(len(f"文章：{row['sentence']}\n这篇文章是关于故事") for row in DEV)
    assert {question.header for question in TNEWS(name="tnews", data_dir=folder, shots=4).questions(len, most)} == {some}


def test_a_train_row_that_is_evaluated_is_no_shot(folder):
    assert len(TNEWS(name="tnews", data_dir=folder, shots=30).questions()) == 40
    with pytest.raises(ConfigError, match="has 30 labelled questions beside the evaluated ones"):
        TNEWS(name="tnews", data_dir=folder, shots=31).questions()


def test_balanced_shots_show_every_class(folder):
    header = TNEWS(name="tnews", data_dir=folder, shots=3, shots_balanced=True).questions()[0].header
    assert all(header.count(f"关于{word}\n") == 1 for word in ("故事", "文化", "娱乐"))


def test_the_majority_is_that_of_the_most_frequent_class(tmp_path, write):
    write("afqmc/dev.json", [{"sentence1": str(i), "sentence2": "b", "label": "0" if i < 7 else "1"} for i in range(10)])
    benchmark = AFQMC(name="afqmc", data_dir=str(tmp_path))
    questions = benchmark.questions()
    assert benchmark.majority(questions) == 0.7
    assert math.isnan(benchmark.majority([]))


def test_the_majority_among_sampled_candidates_is_what_frequencies_alone_reach(tmp_path, write):
    # 30 questions about 故事, 10 about 文化: preferring 故事 is right 30 times, and misleads where it was sampled beside 文化.
    write("tnews/dev.json", [{"label": "100" if number < 30 else "101", "sentence": str(number)} for number in range(40)])
    benchmark = TNEWS(name="tnews", data_dir=str(tmp_path))
    questions = benchmark.questions()
    misled = sum("100" in question.labels for question in questions if question.labels[question.gold] == "101")
    assert 0 < misled < 10 and benchmark.majority(questions) == (40 - misled) / 40


def test_a_file_without_answers_has_questions_without_gold(tmp_path, write):
    rows = [{"id": 1, "sentence1": "a", "sentence2": "b"}]
    write("ocnli/test.json", rows)
    (question,) = OCNLI(name="ocnli", data_dir=str(tmp_path), split="test").questions()
    assert question.gold is None and len(question.candidates) == 3
    write("ocnli/test.json", [*rows, rows[0] | {"id": 2, "label": "neutral"}])
    with pytest.raises(ConfigError, match=r"question 1 of .*test\.json has no answer, and 1 others have one"):
        OCNLI(name="ocnli", data_dir=str(tmp_path), split="test").questions()


def test_an_empty_file_is_no_benchmark(tmp_path, write):
    write("ocnli/dev.json", json.dumps([]))
    with pytest.raises(ConfigError, match="holds no question"):
        OCNLI(name="ocnli", data_dir=str(tmp_path)).questions()


def test_a_limit_draws_the_same_questions_in_every_wording(folder):
    drawn = [{q.id for q in TNEWS(name="tnews", data_dir=folder, limit=6, prompt=prompt, scoring="sequence").questions()}
             for prompt in ("published", "label_last")]  # fmt: skip
    assert len(drawn[0]) == 6 and drawn[0] == drawn[1]
