"""CLUEWSC2020: two readings of one item."""

from __future__ import annotations

import pytest

from kinnari.errors import ConfigError
from kinnari.evaluation.benchmarks import CLUEWSC

TARGET = {"span1_index": 1, "span1_text": "舌头", "span2_index": 6, "span2_text": "它"}
ROW = {"target": TARGET, "idx": 0, "label": "true", "text": "那舌头跳着，它掉了"}


def test_the_item_with_the_noun_is_compared_with_the_item_as_it_is(tmp_path, write):
    write("cluewsc2020_public/dev.json", [ROW, ROW | {"idx": 1, "label": "false"}])
    questions = CLUEWSC(name="cluewsc", data_dir=str(tmp_path), scoring="sequence").questions()
    for question in questions:
        assert dict(zip(question.labels, question.texts, strict=True)) == {"true": "那舌头跳着，舌头掉了", "false": "那舌头跳着，它掉了"}
    assert [question.labels[question.gold] for question in questions] == ["true", "false"]


def test_or_a_question_is_asked(tmp_path, write):
    write("dev.json", [ROW])
    (question,) = CLUEWSC(name="cluewsc", data_dir=str(tmp_path)).questions()
    assert question.texts[question.gold] == "那舌头跳着，它掉了\n这里的“它”指的是“舌头”吗？是，还是不是？\n答案：是"


@pytest.mark.parametrize("target", [TARGET | {"span2_index": 5}, TARGET | {"span2_index": "6"}, TARGET | {"span2_text": ""}])
def test_a_pronoun_that_is_not_there_is_named(tmp_path, write, target):
    write("dev.json", [ROW, ROW | {"idx": 1, "target": target}])
    with pytest.raises(ConfigError, match=r"dev\.json line 2: span2_text .* does not stand at span2_index"):
        CLUEWSC(name="cluewsc", data_dir=str(tmp_path)).questions()


def test_a_missing_span_is_named(tmp_path, write):
    write("dev.json", [ROW | {"target": {"span1_text": "a"}}])
    with pytest.raises(ConfigError, match=r"line 1: has no column 'span2_text'"):
        CLUEWSC(name="cluewsc", data_dir=str(tmp_path)).questions()
