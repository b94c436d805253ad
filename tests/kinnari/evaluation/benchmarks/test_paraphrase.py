"""AFQMC and BUSTM."""

from __future__ import annotations

import pytest

from kinnari.errors import ConfigError
from kinnari.evaluation.benchmarks import AFQMC, BUSTM


@pytest.mark.parametrize("label", ["1", 1])
def test_two_sentences_are_the_same_or_not(tmp_path, write, label):
    write("dev.json", [{"sentence1": "花呗怎么还", "sentence2": "如何还花呗", "label": label}])
    (question,) = AFQMC(name="afqmc", data_dir=str(tmp_path), scoring="sequence").questions()
    assert set(question.texts) == {"下面两个句子语义不同:花呗怎么还。如何还花呗", "下面两个句子语义相同:花呗怎么还。如何还花呗"}
    assert question.candidates[question.gold].label == "相同"
    assert question.id == "1"  # of the line: CLUE's rows have no ids


def test_bustm_reads_the_same_rows_but_was_none_of_system_r(tmp_path, write):
    write("dev_few_all.json", [{"id": 7, "sentence1": "a", "sentence2": "b", "label": "0"}])
    (question,) = BUSTM(name="bustm", data_dir=str(tmp_path)).questions()
    assert (question.id, question.candidates[question.gold].label) == ("7", "不同")
    with pytest.raises(ConfigError, match="it had no benchmark=bustm"):
        BUSTM(name="bustm", scoring="legacy")
