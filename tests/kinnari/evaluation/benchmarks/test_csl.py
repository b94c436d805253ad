"""CSL."""

from __future__ import annotations

import pytest

from kinnari.errors import ConfigError
from kinnari.evaluation.benchmarks import CSL

ROW = {"id": 1, "abst": "本文研究水。", "keyword": ["水", "循环"], "label": "1"}


def test_keywords_are_joined_and_the_word_stands_behind_them(tmp_path, write):
    write("csl/dev.json", [ROW])
    (question,) = CSL(name="csl", data_dir=str(tmp_path), prompt="published").questions()
    assert question.texts[question.gold] == "摘要:本文研究水。，关键词:水+循环是真实关键词"
    assert {candidate.after for candidate in question.candidates} == {"真实关键词"}  # so scoring=label is allowed here


def test_keywords_that_are_no_list_are_named(tmp_path, write):
    write("csl/dev.json", [ROW | {"keyword": "水"}])
    with pytest.raises(ConfigError, match=r"line 1: column 'keyword' holds \"水\", where a list of texts must be"):
        CSL(name="csl", data_dir=str(tmp_path)).questions()
