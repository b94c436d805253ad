"""What task=plan predicts against what real steps take on this machine's CPU, for the grids of the tests.

    python benchmarks/plan.py                 # resident memory, a process for each configuration
    python benchmarks/plan.py --live          # bytes of live tensors, one process
    python benchmarks/plan.py --sharded       # the same on two ranks, under every strategy

Resident memory is that above what the process held before it made the model. glibc is told to give freed memory back at once
(MALLOC_TRIM_THRESHOLD_, MALLOC_MMAP_THRESHOLD_), since what it keeps would be taken for memory in use.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
GIVES_BACK = {"MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1"}


def main() -> None:
    arguments = _parser().parse_args()
    if arguments.one is not None:
        from tests.kinnari.planning.real_step import RESIDENT_GRID, resident_bytes

        print(json.dumps({"bytes": resident_bytes(RESIDENT_GRID[arguments.one])}))
        return
    planned, measured = _live() if arguments.live else _sharded() if arguments.sharded else _resident()
    errors = {name: planned[name] / measured[name] - 1 for name in planned}
    print("| configuration | planned | measured | difference |\n|---|---|---|---|")
    for name, error in errors.items():
        print(f"| {name} | {planned[name] / 2**20:.2f} | {measured[name] / 2**20:.2f} | {100 * error:+.2f} % |")
    sizes = sorted(map(abs, errors.values()))
    print(json.dumps({"median": statistics.median(sizes), "worst": sizes[-1], "errors": errors}))


def _resident() -> tuple[dict[str, float], dict[str, float]]:
    from tests.kinnari.planning.real_step import RESIDENT_GRID

    return _planned(RESIDENT_GRID), {name: _in_a_process(name) for name in RESIDENT_GRID}


def _in_a_process(name: str) -> float:
    print(f"{name} ...", file=sys.stderr, flush=True)
    command = [sys.executable, __file__, "--one", name]
    out = subprocess.run(command, env=os.environ | GIVES_BACK, cwd=ROOT, capture_output=True, text=True, check=False)
    if out.returncode:
        raise SystemExit(out.stderr)
    return json.loads(out.stdout.strip().splitlines()[-1])["bytes"]


def _live() -> tuple[dict[str, float], dict[str, float]]:
    from tests.kinnari.planning.real_step import GRID, measured_bytes

    return _planned(GRID), {name: measured_bytes(case) for name, case in GRID.items()}


def _sharded() -> tuple[dict[str, float], dict[str, float]]:
    from kinnari.planning import sharding
    from tests.distributed import run_ranks
    from tests.kinnari.planning.real_step import AHEAD_NUMBERS, BUCKET_NUMBERS, SHARDED_GRID, measured_on_ranks

    sharding.ZERO_BUCKET_NUMBERS, sharding.ZERO_AHEAD_NUMBERS = BUCKET_NUMBERS, AHEAD_NUMBERS
    found = run_ranks(measured_on_ranks, 2, list(SHARDED_GRID), timeout_s=3600)
    return _planned(SHARDED_GRID), {name: max(rank[name] for rank in found) for name in SHARDED_GRID}


def _planned(grid: dict) -> dict[str, float]:
    from kinnari.planning.estimate import estimate

    return {name: estimate(case.request).peak_memory_gib * 2**30 for name, case in grid.items()}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="predicted memory against measured memory")
    parser.add_argument("--live", action="store_true", help="bytes of live tensors in this process")
    parser.add_argument("--sharded", action="store_true", help="bytes of live tensors on two ranks, under every strategy")
    parser.add_argument("--one", metavar="NAME", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
