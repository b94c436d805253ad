"""Sweeps as a person starts them: a folder, a result and a metric for each trial; on ranks, the same settings on all."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
QUICK = ["model=tiny_causal", "callbacks=none", "logger=none", "data.chatterbot.limit=64", "trainer.precision=32-true"]
QUICK += ["task.samples=0", "task.export_merged=false"]
ON_RANKS = ["hw=cpux2", "strategy/parallel=ddp"]
MEASURED = ("loss_curve", "val/loss", "val/loss_before", "val/token_accuracy", "config_hash", "trainable_parameters")


def start(folder: Path, *arguments: str, steps: int = 4) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    line = [sys.executable, str(ROOT / "launch.py"), *arguments, *QUICK, f"trainer.max_steps={steps}"]
    with open(folder / "output.log", "w") as out:
        return subprocess.Popen(line, cwd=folder, env=environment, stdout=out, stderr=subprocess.STDOUT, text=True)


def launch(folder: Path, *arguments: str) -> tuple[int, str]:
    """Exit status and everything it said."""
    folder.mkdir(exist_ok=True)
    status = start(folder, *arguments).wait(timeout=280)
    return status, (folder / "output.log").read_text()


def result(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text())


def trials(folder: Path) -> list[str]:
    return sorted(path.parent.name for path in folder.glob("*/result.json"))


@pytest.mark.slow
def test_each_trial_has_its_own_folder_and_the_numbers_it_has_when_run_alone(tmp_path):
    dropout = "strategy.tuning.dropout=0.1"  # random numbers are drawn in every step
    status, output = launch(tmp_path / "sweep", "-m", "optimizer.lr=1e-4,1e-3", dropout, "output_dir=both")
    assert status == 0, output
    both = tmp_path / "sweep" / "both"
    assert trials(both) == ["0", "1"]
    assert (both / "multirun.yaml").is_file()
    first, second = result(both / "0"), result(both / "1")
    assert first["val/loss"] != second["val/loss"]
    for trial in (first, second):
        assert trial["status"] == "done"
        assert Path(trial["adapter_dir"]).is_dir()
    assert Path(second["adapter_dir"]).parent == both / "1"

    status, output = launch(tmp_path / "alone", "optimizer.lr=1e-3", dropout, "output_dir=only")
    assert status == 0, output
    alone = result(tmp_path / "alone" / "only")
    assert {name: second[name] for name in MEASURED} == {name: alone[name] for name in MEASURED}


@pytest.mark.slow
def test_in_an_optuna_sweep_on_two_ranks_both_train_with_the_same_settings(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    search = ["hparams_search=optuna_lr", "hydra.sweeper.n_trials=3"]
    status, output = launch(tmp_path, *search, *ON_RANKS, "output_dir=search")
    assert status == 0, output
    search_folder = tmp_path / "search"
    assert trials(search_folder) == ["0", "1", "2"]

    first_rank = re.findall(r"rank 0 of 2: (.*)", output)
    second_rank = [
        re.search(r"rank 1 of 2: (.*)", (search_folder / trial / "logs" / "rank_1.log").read_text())[1] for trial in trials(search_folder)
    ]
    assert first_rank == second_rank
    assert len(set(first_rank)) == 3, "nothing fixes the sampler's seed: three trials, three learning rates"
    for trial, told in zip(trials(search_folder), first_rank, strict=True):
        sampled = yaml.safe_load((search_folder / trial / ".hydra" / "overrides.yaml").read_text())
        lr = next(entry.partition("=")[2] for entry in sampled if entry.startswith("optimizer.lr="))
        assert f"optimizer.lr={lr}" in told.split()
        assert f"config_hash={result(search_folder / trial)['config_hash']}" in told.split()

    best = yaml.safe_load((search_folder / "optimization_results.yaml").read_text())
    assert best["best_value"] == min(result(search_folder / trial)["val/loss"] for trial in trials(search_folder))
    assert set(best["best_params"]) == {"optimizer.lr", "strategy.tuning.r"}


@pytest.mark.slow
@pytest.mark.parametrize("where", [[], ON_RANKS], ids=["one process", "two ranks"])
def test_a_trial_that_fails_is_told_and_the_others_run(tmp_path, where):
    # max_length=2 leaves no record with an answer: found only when the data is read, on the ranks where there are ranks.
    status, output = launch(tmp_path, "-m", "model.max_length=2,256", "packing=none", "output_dir=sweep", *where)
    assert status == 2, output
    assert "can be trained on" in output
    assert result(tmp_path / "sweep" / "0")["status"] == "failed"
    assert result(tmp_path / "sweep" / "1")["status"] == "done"


@pytest.mark.slow
def test_a_sweep_that_is_asked_to_stop_saves_and_starts_no_further_trial(tmp_path):
    process = start(tmp_path, "-m", "seed=1,2", "checkpoint.every_n_steps=5", "output_dir=sweep", steps=100_000)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "sweep" / "0").glob("checkpoints/*.ckpt")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    status = process.wait(timeout=60)
    assert status == 128 + signal.SIGTERM, (tmp_path / "output.log").read_text()
    assert result(tmp_path / "sweep" / "0")["status"] == "interrupted"
    assert not (tmp_path / "sweep" / "1").exists()
