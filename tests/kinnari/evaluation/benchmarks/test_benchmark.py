"""Files are found under their public names, and shots never come from the evaluated one."""

from __future__ import annotations

import pytest

from kinnari.errors import ConfigError
from kinnari.evaluation.benchmarks import EPRSTMT, OCNLI, TNEWS

ROWS = [{"label": 103, "sentence": "一"}]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("tnews/dev.json", None),
        ("tnews_public/dev.json", None),
        ("tnews/dev_few_all.json", None),
        ("dev.jsonl", None),
        ("tnews_dev_few_all.jsonl", None),
        ("tnews/test_public.json", "test"),
        ("tnews/dev_0.json", "dev_0"),
    ],
)
def test_a_file_is_found_under_its_public_name(tmp_path, write, name, split):
    path = write(name, ROWS)
    assert TNEWS(name="tnews", data_dir=str(tmp_path), split=split).evaluated_file == path


def test_the_labelled_test_set_comes_before_the_unlabelled_one(tmp_path, write):
    write("tnews/test.json", [{"sentence": "一"}])
    public = write("tnews/test_public.json", ROWS)
    assert TNEWS(name="tnews", data_dir=str(tmp_path), split="test").evaluated_file == public


def test_a_file_may_be_named(tmp_path, write):
    path = write("mine.jsonl", ROWS)
    assert TNEWS(name="tnews", data_dir=str(tmp_path), file="mine.jsonl").evaluated_file == path
    assert len(TNEWS(name="tnews", file=str(path)).questions()) == 1


def test_missing_folders_and_files_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"benchmark=tnews needs its files: benchmark\.data_dir=DIR"):
        TNEWS(name="tnews").questions()
    with pytest.raises(ConfigError, match="no folder; it must hold tnews's files"):
        TNEWS(name="tnews", data_dir=str(tmp_path / "gone")).questions()
    with pytest.raises(ConfigError, match=r"dev\.json does not exist, nor .*dev_few_all\.json"):
        TNEWS(name="tnews", data_dir=str(tmp_path)).questions()


def test_shots_need_a_training_file_that_is_not_the_evaluated_one(tmp_path, write):
    write("tnews/dev.json", ROWS)
    here = {"name": "tnews", "data_dir": str(tmp_path), "shots": 1}
    with pytest.raises(ConfigError, match=r"benchmark\.shots=1 of benchmark=tnews: .*train\.json does not exist, nor"):
        TNEWS(**here).questions()
    with pytest.raises(ConfigError, match="shots would come from the evaluated file"):
        TNEWS(**here, train_file="dev.json").questions()
    write("tnews/train.json", ROWS)
    with pytest.raises(ConfigError, match=r"train\.json has 0 labelled questions beside the evaluated ones"):
        TNEWS(**here).questions()


def test_impossible_numbers_and_names_are_refused():
    for settings, message in (
        ({"limit": 0}, r"benchmark\.limit=0"),
        ({"shots": -1}, r"benchmark\.shots=-1"),
        ({"scoring": "ppl"}, r"benchmark\.scoring=ppl is unknown; choose one of label, sequence"),
        ({"prompt": "mine"}, r"benchmark\.prompt=mine is unknown; choose one of published, label_last"),
        ({"candidates": "five"}, r"benchmark\.candidates=five is unknown"),
        ({"scoring": "label", "prompt": "published"}, "the label stands before what it is about"),
        ({"scoring": "legacy", "prompt": "label_last"}, "computes what system R did"),
    ):
        with pytest.raises(ConfigError, match=message):
            TNEWS(name="tnews", **settings)
    with pytest.raises(ConfigError, match="eprstmt is not among the tasks"):
        EPRSTMT(name="eprstmt", prompt="published")
    with pytest.raises(ConfigError, match="it had no benchmark=eprstmt"):
        EPRSTMT(name="eprstmt", scoring="legacy")


@pytest.mark.parametrize(
    ("scoring", "prompt"),
    [
        ("label", "label_last"),
        ("pmi", "label_last"),
        ("sequence", "published"),
        ("length_normalised", "published"),
        ("legacy", "published"),
    ],
)
def test_the_scoring_chooses_the_wording(scoring, prompt):
    assert OCNLI(name="ocnli", scoring=scoring).chosen_prompt == prompt
    assert EPRSTMT(name="eprstmt", scoring="sequence").chosen_prompt == "label_last"
