"""The benchmark runs, and what it compares trains the same thing; how fast is for people to read, not for a test."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "sft.py"


def run(*arguments: str) -> tuple[str, dict]:
    done = subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_ours_and_the_bare_loop_train_the_same():
    alike = ("--model", "tiny_causal", "--precision", "32-true", "--threads", "1", "--override", "strategy.tuning.dropout=0")
    printed, report = run("--quick", *alike)
    ours, bare, selected = (report["results"][name] for name in ("ours", "bare", "bare_selected"))
    assert ours["records"] == bare["records"] == 4 * 16
    assert ours["trained"] == bare["trained"] == selected["trained"] > 0
    assert ours["losses"] == pytest.approx(bare["losses"], rel=1e-4)
    assert ours["losses"] == pytest.approx(selected["losses"], rel=1e-4)
    assert ours["padding"] == bare["padding"] < 0.5
    assert {"speed: ours / bare", "peak memory: ours / bare_selected"} <= report["ratios"].keys()
    assert all(len(rows) == 1 for rows in report["rounds"].values())
    assert "trained/s" in printed


def test_an_unknown_variant_is_refused():
    done = subprocess.run([sys.executable, str(SCRIPT), "--variants", "fastest"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "invalid choice: 'fastest'" in done.stderr
