from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError

import pytest

from kinnari.cleaning import EndsWith, Length, Replace, RowStep, SetStep
from kinnari.cleaning.duplicates import ExactDuplicates


def test_lists_and_mappings_of_a_configuration_become_plain_tuples_and_dicts():
    assert Length(where=["inputs", "answers"]).where == ("inputs", "answers")
    assert Length(where=["answers"]) == Length(where=("answers",))
    assert type(Replace(patterns={"a": "b"}).patterns) is dict


def test_a_fingerprint_names_the_class_and_every_parameter():
    step = Length(where=("answers",), least=5)
    assert step.fingerprint == "kinnari.cleaning.presence.Length(where=('answers',), least=5, most=None, unit='characters')"
    assert step.fingerprint != Length(where=("answers",), least=6).fingerprint


def test_a_step_can_be_sent_to_a_worker_and_not_be_changed():
    step = EndsWith(endings=["?"])
    assert pickle.loads(pickle.dumps(step)) == step
    with pytest.raises(FrozenInstanceError):
        step.endings = ()


def test_the_two_kinds_are_told_apart_by_their_class():
    assert isinstance(EndsWith(endings=["?"]), RowStep) and not isinstance(EndsWith(endings=["?"]), SetStep)
    assert isinstance(ExactDuplicates(), SetStep) and not isinstance(ExactDuplicates(), RowStep)
