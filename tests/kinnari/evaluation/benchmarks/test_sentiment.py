"""EPRSTMT."""

from __future__ import annotations

from kinnari.evaluation.benchmarks import EPRSTMT


def test_a_review_is_good_or_bad(tmp_path, write):
    write("eprstmt_dev_few_all.jsonl", [{"id": 3, "sentence": "音质很差", "label": "Negative"}])
    (question,) = EPRSTMT(name="eprstmt", data_dir=str(tmp_path)).questions()
    assert question.texts[question.gold] == "音质很差\n总的来说，这个东西很差"
    assert set(question.labels) == {"Negative", "Positive"} and question.premise == "总的来说，这个东西很"
