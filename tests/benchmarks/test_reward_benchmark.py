"""The benchmark runs, and what it compares trains the same pairs; how fast is for people to read, not for a test."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "reward.py"
QUICK = ("--model", "tiny_causal", "--threads", "1", "--rounds", "1", "--steps", "2", "--micro", "2", "--accumulation", "2")


@pytest.mark.slow
def test_all_shares_train_the_same_pairs_and_fewer_parameters():
    variants = ("frozen_0.0", "frozen_0.7_recomputed", "ours_separate")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *QUICK, "--variants", *variants], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    every, recomputed, separate = (report["results"][name] for name in variants)

    assert every["pairs"] == recomputed["pairs"] == separate["pairs"] == 3 * 4
    assert every["losses"][0] == pytest.approx(recomputed["losses"][0], abs=1e-5)
    assert recomputed["losses"] == pytest.approx(separate["losses"], abs=1e-5)  # two ways to compute the same
    assert recomputed["trainable"] == separate["trainable"] < every["trainable"]
    assert "speed: frozen_0.7_recomputed / frozen_0.0" in report["ratios"]
    assert all(len(rows) == 1 for rows in report["rounds"].values())


def test_an_unknown_variant_is_refused():
    done = subprocess.run([sys.executable, str(SCRIPT), "--variants", "fastest"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "invalid choice: 'fastest'" in done.stderr
