"""The benchmark of preparation runs, and every variant does its work; how fast is for people to read, not for a test."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "preparation.py"


@pytest.mark.slow
def test_all_variants_run_and_memory_and_ratios_are_reported():
    command = [sys.executable, str(SCRIPT), "--quick", "--workers", "2", "--model", "tiny_causal"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert {"prepare / map_read", "prepare / map", "tokenise / map"} == report["ratios"].keys()
    assert all(row["records"] > 1000 and row["worker_mib"] > 0 and row["again"] < row["seconds"] for row in report["growth"].values())
    assert "us/row" in done.stdout
