"""docs/extending.md does what it says: its files, and nothing else, make a source, a model and a benchmark."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.commands import ROOT, commands

PAGE = ROOT / "docs" / "extending.md"
FILES: dict[str, str] = dict(re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```', PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL))
MOST_LINES = 40
ADDITIONS = {"source": ["datamodules/sources/cookbook.py", "conf/data/cookbook.yaml"], "model": ["conf/model/mine.yaml"],
             "benchmark": ["conf/benchmark/spices.yaml"], "loop": ["my_loop.py"]}  # fmt: skip


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """A copy of the source tree with the page's files written into it."""
    folder = tmp_path_factory.mktemp("tree")
    for name in ("kinnari", "lightning_modules", "datamodules", "callbacks", "conf"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "launch.py", folder)
    for name, text in FILES.items():
        assert not (folder / name).exists(), f"{name} would replace a file"
        (folder / name).write_text(text, encoding="utf-8")
    rows = [{"dish": f"dish {i}", "ingredients": ["papaya", "lime"], "steps": f"Pound it {i} times."} for i in range(40)]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, [*rows, {"dish": "", "steps": "none"}])), encoding="utf-8")
    (folder / "quiz" / "spices").mkdir(parents=True)
    quiz = ["dish,first,second,third,right", *(f"dish {i},salt,pepper,chilli,{i % 3 + 1}" for i in range(6))]
    (folder / "quiz" / "spices" / "dev.csv").write_text("\n".join(quiz), encoding="utf-8")
    return folder


def launch(tree: Path, *words: str) -> str:
    """Run the command in the copy, whose packages come before the installed ones."""
    environment = os.environ | {"PYTHONPATH": str(tree), "KINNARI_PREPARED": str(tree / "prepared")}
    command = [sys.executable, "launch.py", *words]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def result(tree: Path, task: str) -> dict:
    (file,) = (tree / "outputs" / task).rglob("result.json")
    return json.loads(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("what", ADDITIONS)
def test_an_addition_is_under_forty_lines(what):
    assert sum(len(FILES[name].splitlines()) for name in ADDITIONS[what]) < MOST_LINES


def test_the_page_has_no_other_files():
    assert sorted(FILES) == sorted(name for names in ADDITIONS.values() for name in names)


def test_what_was_added_is_listed(tree):
    listed = launch(tree, "task=list", "task.match='^(data=cookbook|model=mine|benchmark=spices) '")
    assert [line.split()[0] for line in listed.splitlines()] == ["model=mine", "data=cookbook", "benchmark=spices"]


@pytest.mark.slow
def test_the_source_and_the_model_train_together(tree):
    """The page's command for a model, which reads the page's source: both end in a run."""
    command = next(c for c in commands(PAGE) if "model=mine" in c and "debug=toy" in c)
    launch(tree, *command.replace("FILE", "rows.jsonl").split()[2:])
    told = result(tree, "sft")
    assert told["status"] == "done" and told["data"]["cookbook"]["rejected"] == 1
    (reject,) = map(json.loads, next((tree / "outputs").rglob("rejects.jsonl")).read_text("utf-8").splitlines())
    assert reject["line"] == 41 and "dish" in reject["reason"]


@pytest.mark.slow
def test_the_benchmark_is_asked(tree):
    command = next(c for c in commands(PAGE) if "benchmark=spices" in c)
    launch(tree, *command.replace("DIR", "quiz").split()[2:], "model=tiny_causal", "trainer.precision=32-true")
    told = result(tree, "evaluate")
    assert (told["status"], told["spices/n"]) == ("done", 6)
    assert told["spices/accuracy"] in [right / 6 for right in range(7)]


@pytest.mark.slow
def test_the_loop_without_a_trainer_has_the_losses_of_the_trainer(tree):
    words = next(c for c in commands(PAGE) if "my_loop.py" in c).replace("max_steps=20", "max_steps=5").split()[2:]
    environment = os.environ | {"PYTHONPATH": str(tree), "KINNARI_PREPARED": str(tree / "prepared")}
    done = subprocess.run([sys.executable, "my_loop.py", *words], cwd=tree, env=environment, capture_output=True, text=True, check=True)
    losses = [float(line.rpartition(" ")[2]) for line in done.stdout.splitlines()]
    launch(tree, *words, f"output_dir={tree / 'with_trainer'}")
    curve = json.loads((tree / "with_trainer" / "result.json").read_text(encoding="utf-8"))["loss_curve"]
    assert len(losses) == 5
    assert losses == pytest.approx(curve, rel=1e-5)
