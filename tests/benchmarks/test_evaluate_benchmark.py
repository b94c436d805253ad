"""The benchmark runs, and what it compares scores the same questions; how fast is for people to read, not for a test."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
SCRIPT = FOLDER / "evaluate.py"


def module(name):
    """A file of benchmarks/, under a name that is not also a package's."""
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", FOLDER / f"{name}.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.mark.slow
def test_a_case_runs_and_the_cache_changes_no_prediction():
    command = [sys.executable, str(SCRIPT), "--quick", "--model", "tiny_causal", "--threads", "1", "--cases", "15_labels_5_shots"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    of = report["rounds"]["15_labels_5_shots, 1 thread"]
    (ours,), (bare,) = of["ours"], of["ours_no_cache"]
    assert ours["questions"] == bare["questions"] == len(ours["predictions"]) == 2
    assert ours["predictions"] == bare["predictions"]
    assert ours["again_seconds"] > 0 and "again_seconds" not in bare
    assert "questions/s" in done.stdout


def test_a_prediction_that_differs_is_reported_with_both_preferences():
    mine = {"scores": [[-1.0, -2.0], [-3.0, -3.5]], "predictions": [0, 0]}
    theirs = {"scores": [[-1.0, -2.00001], [-3.75, -3.5]], "predictions": [0, 1]}
    found = module("evaluate")._compared({"ours": [mine], "lm_eval": [theirs]})
    assert found["largest_gap"] == 0.75 and found["gaps"] == 1 and found["candidates"] == 4
    assert found["differ"] == [{"question": 1, "ours": 0, "theirs": 1, "ours_prefers_by": 0.5, "theirs_prefers_by": 0.25}]


def test_ratios_are_of_pairs_of_one_round():
    rounds = {"ours": [{"per_second": 4.0}, {"per_second": 2.0}, {"per_second": 9.0}]}
    rounds["lm_eval"] = [{"per_second": 1.0}, {"per_second": 1.0}, {"per_second": 3.0}]
    assert module("evaluate")._ratios(rounds) == {"ours": 3.0}  # of 4, 2 and 3; not 4 / 1, the ratio of the medians


def test_texts_are_as_long_as_the_real_ones_distinct_and_seeded(tmp_path):
    data = module("evaluate_data")
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        data.write_data(tmp_path / name, 40, seed)
    files = ("tnews/dev.json", "tnews/train.json", "iflytek/dev.json")
    texts = {name: [(tmp_path / name / file).read_text(encoding="utf-8") for file in files] for name in "abc"}
    assert texts["a"] == texts["b"] != texts["c"]
    headlines, shots, described = ([json.loads(line)["sentence"] for line in text.splitlines()] for text in texts["a"])
    assert len(set(headlines + shots)) == 40 + data.SHOT_ROWS and len(set(described)) == 40
    assert min(map(len, headlines)) >= 12 and max(map(len, headlines)) <= 30
    assert min(map(len, described)) >= 200 and max(map(len, described)) <= 260


def test_an_unknown_case_is_refused():
    done = subprocess.run([sys.executable, str(SCRIPT), "--cases", "2_labels"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "invalid choice: '2_labels'" in done.stderr
