"""A plan against the resident memory of a real process; benchmarks/plan.py has the whole grid."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kinnari.planning.estimate import estimate
from kinnari.planning.request import GIB
from tests.kinnari.planning.real_step import RESIDENT_GRID

BENCHMARK = Path(__file__).resolve().parents[3] / "benchmarks" / "plan.py"
GIVES_BACK = {"MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1"}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads and resets VmHWM, which Linux alone has")
def test_a_process_holds_what_was_planned_for_it():
    name = "full recomputed"
    out = subprocess.run([sys.executable, BENCHMARK, "--one", name], env=os.environ | GIVES_BACK, cwd=BENCHMARK.parents[1],
                         capture_output=True, text=True, check=True)  # fmt: skip
    measured = json.loads(out.stdout.strip().splitlines()[-1])["bytes"]
    assert estimate(RESIDENT_GRID[name].request).peak_memory_gib * GIB == pytest.approx(measured, rel=0.25)
