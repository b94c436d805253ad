"""What answers are worth."""

import csv
import sys
import types

import numpy as np
import pytest
import torch

from kinnari.completion.completer import Completion
from kinnari.errors import ConfigError, RunStopped
from kinnari.rollouts.rewards import (
    AskedModel,
    answer_overlap,
    checked,
    first_number,
    matching,
    near_length,
    python_callable,
    script_share,
)  # fmt: skip
from kinnari.rollouts.rollout import Rollout
from kinnari.text.conversation import Message
from kinnari.text.prompts import Prompt


def rollouts(*texts, reference="yes"):
    return [
        Rollout(Prompt((Message("user", f"Q{i} {{answer}}?"),), [1], f"r:{i}", reference), [2], t, finished=True)
        for i, t in enumerate(texts)
    ]


def test_rules_by_hand():
    assert script_share("th")(rollouts("สวัสดี", "สa", "abc", "")) == [1.0, 0.5, 0.0, 0.0]
    assert near_length(4)(rollouts("abcd", "ab", "", "abcdefgh", "a" * 20)) == [1.0, 0.5, 0.0, 0.0, 0.0]
    assert matching(r"\d")(rollouts("a1", "b")) == [1.0, 0.0]
    assert answer_overlap()(rollouts("yes", "no")) == [1.0, 0.0]


@pytest.mark.parametrize(
    ("made", "setting", "words"),
    [(matching, "(", "regular expression"), (script_share, "xx", "choose one of"), (near_length, 0, "1 or more")],
)
def test_a_rule_that_cannot_be_is_refused(made, setting, words):
    with pytest.raises(ConfigError, match=words):
        made(setting)


@pytest.fixture
def module(monkeypatch):
    made = types.ModuleType("my_rewards")
    made.lengths = lambda questions, answers, references: [len(a) for a in answers]
    made.broken = lambda questions, answers, references: 1 / 0
    made.few = lambda questions, answers, references: [1.0]
    made.nothing = lambda questions, answers, references: None
    made.one = lambda questions, answers, references: torch.tensor(1.0)
    made.square = lambda questions, answers, references: torch.ones(2, 2)
    made.texts = lambda questions, answers, references: ["nan"] * 2
    made.tensor = lambda questions, answers, references: torch.tensor([1.0, 2.0], requires_grad=True)
    made.column = lambda questions, answers, references: torch.tensor([[1.0], [2.0]], dtype=torch.float16)
    made.array = lambda questions, answers, references: np.array([1, 2])
    made.generated = lambda questions, answers, references: (float(i) for i in (1, 2))
    monkeypatch.setitem(sys.modules, "my_rewards", made)


def test_a_function_of_yours_gets_questions_answers_and_references(module):
    assert python_callable("my_rewards:lengths")(rollouts("abc", "")) == [3.0, 0.0]


@pytest.mark.parametrize("path", ["my_rewards:absent", "nowhere:f", "no_colon", ":"])
def test_a_function_that_cannot_be_imported_is_named(module, path):
    with pytest.raises(ConfigError, match=r"package\.module:function"):
        python_callable(path)


@pytest.mark.parametrize("name", ["tensor", "column", "array", "generated"])
def test_numbers_may_come_in_any_row(module, name):
    found = python_callable(f"my_rewards:{name}")(rollouts("a", "b"))
    assert found == [1.0, 2.0] and all(type(value) is float for value in found)


@pytest.mark.parametrize(("name", "words"), [("broken", "ZeroDivisionError"), ("few", "1 numbers for 2 answers"),
                                             ("nothing", "returned NoneType None"), ("one", "returned Tensor"),
                                             ("square", "returned Tensor"), ("texts", "a text: str 'nan'")])  # fmt: skip
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


@pytest.mark.parametrize("score", [float("inf"), -float("inf"), 1e300, -1e30])
def test_a_reward_no_loss_can_hold_names_the_answer(score):
    with pytest.raises(RunStopped, match="r:0 is"):
        checked(lambda rows: [score], rollouts("a"))


class Silent(Replies):
    def complete(self, prompts, settings, on_progress=lambda done: None):
        return [Completion("", "failed", "no connection") for _ in prompts]


def test_an_endpoint_that_answers_nothing_is_told_before_and_stops_a_run():
    with pytest.raises(ConfigError, match=r"no answer to a first question \(no connection\)"):
        AskedModel(Silent()).probe()
    with pytest.raises(RunStopped, match="none of 2 requests"):
        AskedModel(Silent())(rollouts("a", "b"))


def test_a_single_failure_counts_as_no_number():
    class Once(Replies):
        def complete(self, prompts, settings, on_progress=lambda done: None):
            return [Completion("", "failed", "status 500"), Completion("0.5", "stop")]

    reward = AskedModel(Once())
    assert reward(rollouts("a", "b")) == [0.0, 0.5] and reward.counts() == {"asked": 2, "not_parsed": 1}


def test_the_first_question_is_asked_as_all_others_are():
    replies = Replies("0.5")
    AskedModel(replies).probe()
    assert "Question:\n1 + 1?\n\nAnswer:\n2" in replies.asked[0]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1e-3", 1e-3),
        (".5", 0.5),
        ("1" + "0" * 400, None),
        ("nan", None),
        ("0.9", 0.9),
        ("-1", -1.0),
        ("about 3 or 4", 3.0),
        ("", None),
        ("none", None),
    ],
)
def test_the_first_number_counts(text, number):
    assert first_number(text) == number
