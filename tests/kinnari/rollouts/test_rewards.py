"""What answers are worth."""

import csv
import sys
import types

import pytest

from kinnari.completion.completer import Completion
from kinnari.errors import ConfigError, RunStopped
from kinnari.rollouts.rewards import AskedModel, checked, first_number, python_callable, rule
from kinnari.rollouts.rollout import Rollout
from kinnari.text.conversation import Message
from kinnari.text.prompts import Prompt


def rollouts(*texts, reference="yes"):
    return [
        Rollout(Prompt((Message("user", f"Q{i} {{answer}}?"),), [1], f"r:{i}", reference), [2], t, finished=True)
        for i, t in enumerate(texts)
    ]


def test_rules_by_hand():
    assert rule("script_share", language="th")(rollouts("สวัสดี", "สa", "abc", "")) == [1.0, 0.5, 0.0, 0.0]
    assert rule("near_length", characters=4)(rollouts("abcd", "ab", "", "abcdefgh", "a" * 20)) == [1.0, 0.5, 0.0, 0.0, 0.0]
    assert rule("matching", pattern=r"\d")(rollouts("a1", "b")) == [1.0, 0.0]
    assert rule("answer_overlap")(rollouts("yes", "no")) == [1.0, 0.0]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"name": "nothing"}, "choose one of"),
        ({"name": "near_length"}, "characters"),
        ({"name": "matching", "pattern": "("}, "regular expression"),
        ({"name": "script_share", "language": "xx"}, "choose one of"),
        ({"name": "near_length", "characters": 0}, "1 or more"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        rule(**settings)


@pytest.fixture
def module(monkeypatch):
    made = types.ModuleType("my_rewards")
    made.lengths = lambda questions, answers, references: [len(a) for a in answers]
    made.broken = lambda questions, answers, references: 1 / 0
    made.few = lambda questions, answers, references: [1.0]
    monkeypatch.setitem(sys.modules, "my_rewards", made)


def test_a_function_of_yours_gets_questions_answers_and_references(module):
    assert python_callable("my_rewards:lengths")(rollouts("abc", "")) == [3.0, 0.0]


@pytest.mark.parametrize("path", ["my_rewards:absent", "nowhere:f", "no_colon", ":"])
def test_a_function_that_cannot_be_imported_is_named(module, path):
    with pytest.raises(ConfigError, match=r"package\.module:function"):
        python_callable(path)


@pytest.mark.parametrize(("name", "words"), [("broken", "ZeroDivisionError"), ("few", "1 numbers for 2 answers")])
def test_a_function_that_fails_ends_the_run_with_its_own_words(module, name, words):
    with pytest.raises(RunStopped, match=words):
        python_callable(f"my_rewards:{name}")(rollouts("a", "b"))


def test_a_reward_that_is_no_number_names_the_answer():
    with pytest.raises(RunStopped, match="r:1 is nan"):
        checked(lambda rows: [1.0, float("nan")], rollouts("a", "b"))


class Replies:
    name = "replies"

    def __init__(self, *texts):
        self.texts, self.asked = texts, []

    def complete(self, prompts, settings, on_progress=lambda done: None):
        self.asked += prompts
        return [Completion(text, "stop") for text in self.texts]


def test_an_asked_model_is_parsed_counted_and_recorded(tmp_path):
    replies = Replies("0.8", "Score: 0,25 of 1", "I cannot say")
    reward = AskedModel(replies, tmp_path / "asked.csv")

    assert reward(rollouts("a {prompt}", "b", "c")) == [0.8, 0.25, 0.0]
    assert (reward.asked, reward.not_parsed) == (3, 1)
    assert "Question:\nQ0 {answer}?" in replies.asked[0] and "Answer:\na {prompt}" in replies.asked[0]  # braces of people stay
    assert [row[3] for row in csv.reader((tmp_path / "asked.csv").read_text(encoding="utf-8").splitlines())] == ["0.8", "0.25", "0.0"]


@pytest.mark.parametrize(("text", "number"), [("0.9", 0.9), ("-1", -1.0), ("about 3 or 4", 3.0), ("", None), ("none", None)])
def test_the_first_number_counts(text, number):
    assert first_number(text) == number
