"""Signals and dying processes: what is asked to stop saves and exits with 0, what is killed leaves no process behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.end_to_end.faults import slow_steps
from tests.end_to_end.forked import QUICK, ROOT, Run, finish, same, start, write_rows

STEPS = 16
KINDS = {
    "lora_single": ("strategy=lora",),
    "full_ddp": ("strategy=full", "hw=cpux2", "strategy/parallel=ddp"),
}
ZERO3 = ("strategy=full", "hw=cpux2", "strategy/parallel=deepspeed_zero3")


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl")


def overrides(rows, kind, every=3):
    return (*kind, f"data.alpaca.path={rows}", f"trainer.max_steps={STEPS}", f"checkpoint.every_n_steps={every}", "checkpoint.keep=9")


def in_training(run: Run) -> Run:
    return run.until(lambda run: 3 in run.steps_saved())


def interrupt(run: Run, how: str) -> None:
    if how == "ctrl_c":  # the terminal sends it to the launcher and to all ranks
        os.killpg(run.process.pid, signal.SIGINT)
    else:
        run.signal(signal.SIGTERM)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["sigterm", "ctrl_c"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_asked_to_stop_saves_its_step_and_goes_on_later(tmp_path, rows, kind, how):
    settings = overrides(rows, KINDS[kind])
    whole = start(tmp_path / "whole", *settings)
    run = in_training(start(tmp_path / "stopped", *settings, prepare=slow_steps, arguments=(0.1,)))
    time.sleep(0.15)  # not a step that would be saved anyway
    interrupt(run, how)
    assert run.wait() == 0, run.text()
    stopped = run.result()
    assert stopped["status"] == "interrupted" and 3 < stopped["steps"] < STEPS
    assert max(run.steps_saved()) == stopped["steps"] == len(stopped["loss_curve"])
    assert "Traceback" not in run.text() and not run.members()

    resumed = finish(run.folder, *settings, "checkpoint.resume=auto", name="resumed")
    assert whole.wait() == 0
    assert resumed.result()["status"] == "done"
    assert same(resumed.checkpoint(STEPS)["state_dict"], whole.checkpoint(STEPS)["state_dict"])
    assert resumed.result()["loss_curve"] == whole.result()["loss_curve"]
    assert resumed.result()["val/loss"] == whole.result()["val/loss"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [KINDS["full_ddp"], ZERO3], ids=["ddp", "zero3"])
def test_when_a_rank_dies_the_others_end_within_a_minute(tmp_path, rows, kind):
    run = in_training(start(tmp_path / "run", *overrides(rows, kind), prepare=slow_steps, arguments=(0.1,)))
    _, second = run.ranks()
    os.kill(second, signal.SIGKILL)
    began = time.monotonic()
    assert run.wait(60.0) == 128 + signal.SIGKILL
    print(f"{kind[-1]}: ended {time.monotonic() - began:.1f} s after the death of a rank")
    run.gone(1.0)
    assert "rank 1 was killed by signal 9" in run.text()
    assert f"the end of {run.folder / 'logs' / 'rank_1.log'}" in run.text()
    assert max(run.steps_saved()) >= 3


@pytest.mark.slow
def test_ranks_end_by_themselves_when_their_launcher_is_killed(tmp_path, rows):
    """With real processes, started by `subprocess.Popen`."""
    settings = overrides(rows, KINDS["full_ddp"], every=1)
    output = tmp_path / "output.txt"
    with open(output, "wb") as out:
        process = subprocess.Popen(
            [sys.executable, "launch.py", *QUICK, f"output_dir={tmp_path / 'run'}", *settings, "trainer.max_steps=100000"],
            cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, start_new_session=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    run = RealRun(process, tmp_path / "run", output)
    try:
        run.until(lambda run: bool(run.steps_saved()))
        assert len(run.ranks()) == 2
        process.kill()
        process.wait()
        assert run.gone(10.0) < 10.0
    finally:
        if run.members():
            os.killpg(process.pid, signal.SIGKILL)


class RealRun(Run):
    """The same questions to a `subprocess.Popen`."""

    def ended(self) -> bool:
        return self.process.poll() is not None
