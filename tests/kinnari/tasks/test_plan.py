"""task=plan: the keys that were promised, advice, cells of a sweep and refusals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kinnari.errors import ConfigError
from kinnari.tasks.compose import compose
from kinnari.tasks.run import run

ROOT = Path(__file__).resolve().parents[3]
TINY = ["task=plan", "model=tiny_causal", "data.chatterbot.limit=40", "trainer.precision=32-true"]
PROMISED = {"fits", "peak_memory_gib", "memory_gib", "device_memory_gib", "max_micro_size", "trainable_parameters", "total_parameters",
            "flops_per_step", "hours_per_epoch", "energy_kwh", "carbon_kg", "advice"}  # fmt: skip


def planned(folder: Path, *words: str) -> dict:
    run(compose([*TINY, f"output_dir={folder}", *words]))
    return json.loads((folder / "result.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("task", ["sft", "ppo"])
def test_the_result_has_the_keys_that_were_promised_and_adds_up(tmp_path, task):
    result = planned(tmp_path, f"plan.task={task}", "ppo.reward=rule", "strategy=lora", "hw.peak_tflops=0.1", "plan.kg_per_kwh=0.5")
    assert result.keys() >= PROMISED and result["fits"] is True and result["advice"] == []
    assert sum(result["memory_gib"].values()) == pytest.approx(result["peak_memory_gib"])
    assert result["carbon_kg"] == pytest.approx(0.5 * result["energy_kwh"])
    hours = result["hours_per_epoch"] or result["hours_of_run"]
    assert result["energy_kwh"] == pytest.approx(hours * 65 / 1000)  # conf/hw/cpu.yaml: 65 W
    assert (tmp_path / "memory.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "plan.json").read_text(encoding="utf-8"))["row"]["model"] == "tiny_causal"


def test_what_does_not_fit_comes_with_advice_in_words(tmp_path):
    result = planned(tmp_path, "strategy=full", "batch.micro_size=16", "hw.memory_gib=0.02")
    assert result["fits"] is False and result["max_micro_size"] < 16
    assert any(f"batch.micro_size={result['max_micro_size']}" in advice for advice in result["advice"])
    fitting = planned(tmp_path, "strategy=full", f"batch.micro_size={result['max_micro_size']}", "hw.memory_gib=0.02")
    assert fitting["fits"] is True


@pytest.mark.parametrize("word", ["plan.task=dpo", "plan.headroom=1.5", "plan.pue=0.5", "plan.measure=maybe", "strategy/parallel=fsdp"])
def test_settings_that_cannot_be_are_refused(tmp_path, word):
    with pytest.raises(ConfigError):
        planned(tmp_path, word)


@pytest.mark.slow
def test_a_sweep_leaves_one_matrix_with_a_cell_for_what_is_refused(tmp_path):
    command = [sys.executable, "launch.py", "task=plan", "-m", "model=tiny_causal", "strategy/parallel=single,fsdp"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "data.chatterbot.limit=40", f"output_dir={tmp_path}"], cwd=ROOT, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    rows = json.loads((tmp_path / "matrix.json").read_text(encoding="utf-8"))
    assert [(row["parallel"], row["fits"]) for row in rows] == [("single", True), ("fsdp", False)]
    assert "spreads work over devices" in rows[1]["refused"] and rows[0]["refused"] is None
    assert (tmp_path / "matrix.html").read_text(encoding="utf-8").count('class="yes"') == 1
