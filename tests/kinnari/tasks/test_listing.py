"""What task=list says is what the files say."""

from __future__ import annotations

import json

import pytest

from kinnari.errors import ConfigError
from kinnari.tasks.compose import compose
from kinnari.tasks.config_errors import groups
from kinnari.tasks.listing import FIRST, choices, header, listing, read_choice


def test_every_option_has_one_line_that_says_something():
    found = choices()
    assert [(c.group, c.option) for c in found if len(c.what) < 10 or "\n" in c.line] == []
    expected = {f"{group}={option}" for group, options in groups().items() if group != "hydra/help" for option in options}
    assert {choice.line.split()[0] for choice in found} == expected and len(found) == len(expected)


def test_what_people_look_for_comes_first():
    order = list(dict.fromkeys(choice.group for choice in choices()))
    assert order[: len(FIRST)] == list(FIRST)


@pytest.mark.parametrize(
    ("text", "what", "command"),
    [
        ("# One sentence.   python launch.py a=1\nx: 1\n", "One sentence.", "a=1"),
        ("# @package model\n# Two\n# lines.\n#   python launch.py a=1 b=2\n# More.\n", "Two lines.", "a=1 b=2"),
        ("# First.\n#\n# Later words.\n#   python launch.py a=1\n", "First.", "a=1"),
        ("# With a note: `python launch.py a=1`\n", "With a note:", "a=1"),
        ("x: 1\n# Not at the top.   python launch.py a=1\n", "", ""),
    ],
)  # fmt: skip
def test_a_header_is_parted_into_what_it_is_and_an_example(text, what, command):
    assert header(text) == (what, command)


def test_a_model_tells_its_size_and_the_licence_of_its_family():
    assert read_choice("model", "xglm7b").facts == {"parameters": "7.49 B", "licence": "MIT"}
    assert read_choice("model", "smollm2_135m").facts["parameters"] == "135 M"
    assert "parameters" not in read_choice("model", "other").facts


def test_licences_are_those_of_the_composed_model():
    for option in ("bloomz560m", "byt5_small", "qwen2_5_3b", "wangchanglm_en", "gemma3_270m"):
        assert read_choice("model", option).facts["licence"] == compose([f"model={option}"]).model.licence, option


def test_a_source_tells_languages_and_licences():
    assert read_choice("data", "koalpaca").facts == {"languages": "ko", "licence": "unknown; v1.0 CC-BY-NC-4.0"}
    assert read_choice("data", "wangchan_translated_parts").facts["licence"] == "Apache-2.0, CC-BY-SA-4.0, CC-BY-SA-3.0"


def test_groups_and_words_narrow_the_list():
    assert {choice.group for choice in choices(["hw", "strategy/parallel"])} == {"hw", "strategy/parallel"}
    assert all("thai" in choice.line.lower() for choice in choices(match="THAI")) and choices(match="THAI")
    assert [choice.option for choice in choices(["model"], "^model=xglm7b ")] == ["xglm7b"]


@pytest.mark.parametrize(
    ("wanted", "match", "message"),
    [
        (["modl"], None, "Did you mean model"),
        (None, "(", "no regular expression"),
        (["hw"], "no such thing", "matches none"),
    ],
)
def test_a_mistake_is_told(wanted, match, message):
    with pytest.raises(ConfigError, match=message):
        choices(wanted, match)


def test_an_unknown_form_is_refused():
    with pytest.raises(ConfigError, match="text, json"):
        listing(compose(["task=list", "task.form=xml"]))


def test_programs_get_json_with_the_examples(capsys):
    listing(compose(["task=list", "task.group=strategy", "task.form=json"]))
    told = {entry["option"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert set(told) == set(groups()["strategy"])
    assert told["lora"] == {
        "group": "strategy", "option": "lora", "what": "Low-rank adapters on a frozen model.", "command": "strategy=lora", "facts": {},
    }  # fmt: skip
