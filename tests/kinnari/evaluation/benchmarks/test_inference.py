"""OCNLI and CMNLI."""

from __future__ import annotations

import pytest

from kinnari.errors import ConfigError
from kinnari.evaluation.benchmarks import CMNLI, OCNLI

ROWS = [
    {"level": "easy", "sentence1": "村里有庙", "sentence2": "村里只有庙", "label": "contradiction", "id": 0},
    {"sentence1": "他来了", "sentence2": "他在", "label": "-", "id": 1},
    {"sentence1": "他来了", "sentence2": "", "label": "entailment", "id": 2},
]


@pytest.mark.parametrize("kind", [OCNLI, CMNLI])
def test_the_published_strings_hold_the_words_in_the_middle(tmp_path, write, kind):
    write("dev.json", ROWS)
    questions = kind(name="nli", data_dir=str(tmp_path), scoring="sequence").questions()
    assert [question.id for question in questions] == ["0", "2"]  # the annotators did not agree on row 1
    texts = dict(zip(questions[0].labels, questions[0].texts, strict=True))
    assert texts == {
        "entailment": "村里有庙?Yes，村里只有庙",
        "neutral": "村里有庙?Maybe，村里只有庙",
        "contradiction": "村里有庙?No，村里只有庙",
    }
    assert [question.labels[question.gold] for question in questions] == ["contradiction", "entailment"]
    assert questions[1].texts[questions[1].gold] == "他来了?Yes，"


def test_the_label_may_stand_last(tmp_path, write):
    write("dev.json", ROWS)
    question = OCNLI(name="ocnli", data_dir=str(tmp_path)).questions()[0]
    assert len({candidate.before for candidate in question.candidates}) == 1
    assert {candidate.after for candidate in question.candidates} == {""}
    assert question.premise == "答案：" and question.candidates[0].before.endswith("\n答案：")


def test_unknown_labels_and_missing_sentences_are_named(tmp_path, write):
    benchmark = OCNLI(name="ocnli", data_dir=str(tmp_path))
    write("dev.json", [ROWS[0] | {"label": "maybe"}])
    with pytest.raises(ConfigError, match=r"dev\.json line 1: label 'maybe' is none of entailment, neutral, contradiction"):
        benchmark.questions()
    write("dev.json", [ROWS[0], {"sentence1": "a", "label": "neutral"}])
    with pytest.raises(ConfigError, match=r"dev\.json line 2: has no column 'sentence2'; its columns: sentence1, label"):
        benchmark.questions()
