"""Seed tasks: the shipped set is sound in five languages, and a mistake in a user's file is named with its line."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinnari.bootstrap.seeds import Instance, by_language, read_seed_tasks
from kinnari.bootstrap.similarity import InstructionIndex
from kinnari.errors import ConfigError
from kinnari.text.language import language_of

GOOD = {"id": "a", "name": "n", "instruction": "Do it now.", "instances": [{"input": "", "output": "Done."}], "is_classification": False}


def write(path, *rows):
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_the_shipped_set_has_ten_tasks_in_each_of_five_languages_two_of_them_classification():
    seeds = read_seed_tasks()
    assert Counter(seed.language for seed in seeds) == {"en": 10, "th": 10, "ko": 10, "zh": 10, "ja": 10}
    assert Counter(seed.language for seed in seeds if seed.is_classification) == {"en": 2, "th": 2, "ko": 2, "zh": 2, "ja": 2}
    assert all(language_of(seed.instruction) == seed.language for seed in seeds)
    without = [seed for seed in seeds if not seed.instances[0].input]
    assert 15 <= len(without) <= 35


def test_no_shipped_task_resembles_another_too_much():
    index = InstructionIndex()
    for seed in read_seed_tasks():
        assert index.resemblance(seed.instruction).highest <= 0.7, seed.id
        index.add(seed.instruction)


def test_classification_tasks_of_the_shipped_set_show_two_labels():
    assert all(len({i.output for i in seed.instances}) == 2 for seed in read_seed_tasks() if seed.is_classification)


def test_a_users_file_is_read_in_the_published_layout(tmp_path):
    row = {**GOOD, "id": 7, "instances": [{"input": "x", "output": "y"}, {"output": "z"}], "instruction": "ทำเลยตอนนี้"}
    (seed,) = read_seed_tasks(write(tmp_path / "s.jsonl", row))
    assert (seed.id, seed.language) == ("7", "th")
    assert seed.instances == (Instance("x", "y"), Instance("", "z"))


def test_the_instructions_script_tells_the_language_whatever_it_is_about(tmp_path):
    code = "def add(first, second):\n    return first + second  # the sum of both numbers"
    chinese = {**GOOD, "instruction": "解释这段代码", "instances": [{"input": code, "output": code}]}
    french = {
        **GOOD,
        "id": "b",
        "instruction": "Traduis.",
        "instances": [{"input": "", "output": "Il fait beau aujourd'hui, dit la vieille dame."}],
    }
    assert [seed.language for seed in read_seed_tasks(write(tmp_path / "s.jsonl", chinese, french))] == ["zh", "fr"]


def test_a_language_that_is_given_counts(tmp_path):
    (seed,) = read_seed_tasks(write(tmp_path / "s.jsonl", {**GOOD, "language": "fr"}))
    assert seed.language == "fr"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("{", "is not json"),
        ("[]", "a task is an object"),
        ({**GOOD, "id": None}, "'id'"),
        ({**GOOD, "instruction": " "}, "'instruction'"),
        ({**GOOD, "is_classification": "no"}, "'is_classification'"),
        ({**GOOD, "instances": []}, "'instances'"),
        ({**GOOD, "instances": {"input": "", "output": ""}}, "'instances'"),
        ({**GOOD, "instances": [{"input": "a"}]}, "'output'"),
        ({**GOOD, "instances": [{"input": 3, "output": "a"}]}, "'input'"),
        ({**GOOD, "language": 3}, "'language'"),
    ],
)
def test_the_first_wrong_line_is_named_with_its_number(tmp_path, wrong, says):
    file = write(tmp_path / "s.jsonl", GOOD, "", wrong)
    with pytest.raises(ConfigError, match=r"line 3") as error:
        read_seed_tasks(file)
    assert says in str(error.value)


def test_ids_that_are_given_twice_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="both have the id 'a'"):
        read_seed_tasks(write(tmp_path / "s.jsonl", GOOD, GOOD))


def test_an_absent_or_empty_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_seed_tasks(tmp_path / "none.jsonl")
    with pytest.raises(ConfigError, match="holds no task"):
        read_seed_tasks(write(tmp_path / "s.jsonl", ""))


@settings(deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_any_bytes_are_tasks_or_a_mistake_in_words(tmp_path_factory, content):
    file = tmp_path_factory.mktemp("seeds") / "s.jsonl"
    file.write_bytes(content)
    with pytest.raises(ConfigError):
        read_seed_tasks(file)


def test_seeds_of_one_language_go_together_and_too_few_are_refused():
    seeds = read_seed_tasks()
    assert list(by_language(seeds, 3)) == ["en", "th", "ko", "zh", "ja"]
    assert {seed.language for seed in by_language(seeds, 3, ["th"])["th"]} == {"th"}
    with pytest.raises(ConfigError, match=r"bootstrap.languages=\[fr\].*10 in en"):
        by_language(seeds, 3, ["th", "fr"])
    with pytest.raises(ConfigError, match="shows 11 seed tasks"):
        by_language(seeds, 11)
