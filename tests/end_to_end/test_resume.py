"""Contract 4: a run that is killed at any moment and resumed ends where an uninterrupted run ends, to the last bit."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

import pytest

from tests.end_to_end.faults import slow_disk_and_dropout
from tests.end_to_end.forked import Run, finish, same, start, write_rows

STEPS = 15
EPOCH = 5  # 20 training rows of 25, 4 a step
KILLS = 5
SEED = 20260117
RUNS = {
    "lora_single": ("strategy=lora", "strategy.tuning.dropout=0.05", "trainer.validate_every_n_steps=3"),
    "full_ddp": ("strategy=full", "hw=cpux2", "strategy/parallel=ddp"),
}


def half_written(run: Run) -> list[Path]:
    return list((run.folder / "checkpoints").glob(".*.tmp"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", RUNS)
def test_five_kills_change_nothing(tmp_path, kind):
    rows = write_rows(tmp_path / "rows.jsonl")
    overrides = (*RUNS[kind], f"data.alpaca.path={rows}", f"trainer.max_steps={STEPS}", "checkpoint.every_n_steps=1")
    whole = finish(tmp_path / "whole", *overrides, prepare=slow_disk_and_dropout, arguments=(0.0,))

    dice = random.Random(SEED)
    moments = sorted(dice.sample(range(1, STEPS - 1), KILLS - 1))
    folder = tmp_path / "killed"
    for number, moment in enumerate([0, *moments]):
        run = start(folder, *overrides, "checkpoint.resume=auto", prepare=slow_disk_and_dropout, arguments=(0.03,), name=f"kill{number}")
        run.until(lambda run, moment=moment: max(run.steps_saved(), default=0) >= moment)
        if number == 2:  # one for certain in the middle of writing
            run.until(lambda run: bool(half_written(run)))
        else:
            time.sleep(dice.uniform(0.0, 0.2 if moment else 1.5))  # the first anywhere between start and first steps
        run.kill()
        print(f"{kind}: killed after step {max(run.steps_saved(), default=0)}, half written: {len(half_written(run))}")
        assert number != 2 or half_written(run)
    resumed = finish(folder, *overrides, "checkpoint.resume=auto", prepare=slow_disk_and_dropout, arguments=(0.0,))

    ours, expected = resumed.checkpoint(STEPS), whole.checkpoint(STEPS)
    assert expected["state_dict"] and same(ours["state_dict"], expected["state_dict"])
    assert same(ours["optimizer_states"], expected["optimizer_states"])
    assert same(ours["lr_schedulers"], expected["lr_schedulers"])
    assert resumed.result()["loss_curve"] == whole.result()["loss_curve"] and len(whole.result()["loss_curve"]) == STEPS
    for metric in ("val/loss", "val/loss_before", "val/token_accuracy", "steps", "status", "padding_fraction"):
        assert resumed.result()[metric] == whole.result()[metric], metric
    assert resumed.steps_saved() == whole.steps_saved() == [STEPS - 1, STEPS]
    assert not half_written(resumed)
    assert best(resumed) == best(whole)


def best(run: Run) -> list[str]:
    return sorted(path.name for path in (run.folder / "checkpoints" / "best").iterdir())


ELASTIC = ("strategy=full", "trainer.max_steps=10", "checkpoint.every_n_steps=1", "checkpoint.keep=10", "packing=none")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A finished run on one process, and one on two ranks; every step was saved."""
    folder = tmp_path_factory.mktemp("saved")
    rows = write_rows(folder / "rows.jsonl")
    overrides = (*ELASTIC, f"data.alpaca.path={rows}")
    single = start(folder / "single", *overrides)
    ddp = start(folder / "ddp", *overrides, "hw=cpux2", "strategy/parallel=ddp")
    assert single.wait() == 0 and ddp.wait() == 0
    return overrides, single, ddp


@pytest.mark.slow
@pytest.mark.parametrize(
    ("saved_by", "resumed_under"),
    [
        ("ddp", ("strategy/parallel=single", "batch.micro_size=1")),
        ("single", ("strategy/parallel=deepspeed_zero3", "hw=cpux2", "batch.micro_size=1")),
        ("single", ("strategy/parallel=fsdp", "hw=cpux2", "batch.micro_size=2")),
    ],
    ids=["ddp2_to_single", "single_to_zero3x2", "single_to_fsdpx2"],
)
def test_a_run_goes_on_under_another_strategy_with_the_same_curve(saved, tmp_path, saved_by, resumed_under):
    overrides, single, ddp = saved
    before = {"single": single, "ddp": ddp}[saved_by]
    file = before.folder / "checkpoints" / "step_00000004.ckpt"
    after = finish(tmp_path / "after", *overrides, *resumed_under, f"checkpoint.resume={file}")
    assert after.steps_saved() == [5, 6, 7, 8, 9, 10]
    assert after.result()["loss_curve"] == pytest.approx(single.result()["loss_curve"], rel=1e-4)
    assert after.result()["val/loss"] == pytest.approx(single.result()["val/loss"], rel=1e-4)


def copy_of(run: Run, folder: Path) -> Run:
    shutil.copytree(run.folder, folder)
    return Run(run.process, folder, run.output)


def test_torn_checkpoints_are_passed_over_and_refused_by_name(saved, tmp_path):
    overrides, single, _ = saved
    torn = copy_of(single, tmp_path / "torn")
    checkpoints = torn.folder / "checkpoints"
    last, before = checkpoints / "step_00000010.ckpt", checkpoints / "step_00000009.ckpt"
    last.write_bytes(last.read_bytes()[:-1000])
    damaged = bytearray(before.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    before.write_bytes(damaged)

    refused = finish(tmp_path / "refused", *overrides, f"checkpoint.resume={before}", status=2)
    assert "is torn" in refused.text() and "Traceback" not in refused.text()
    resumed = finish(torn.folder, *overrides, "checkpoint.resume=auto")
    assert "step_00000010.ckpt is torn" in resumed.text() and "step_00000009.ckpt is torn" in resumed.text()
    assert "resuming from" in resumed.text() and resumed.text().count("step_00000008.ckpt") == 1
    assert same(resumed.checkpoint(10)["state_dict"], single.checkpoint(10)["state_dict"])
    assert resumed.result()["loss_curve"] == single.result()["loss_curve"]


def test_a_finished_run_resumed_changes_nothing_and_one_begun_anew_sets_its_checkpoints_aside(saved, tmp_path):
    overrides, single, _ = saved
    again = finish(copy_of(single, tmp_path / "again").folder, *overrides, "checkpoint.resume=auto")
    for metric in ("status", "steps", "val/loss", "val/loss_before", "loss_curve", "greedy_agreement"):
        assert again.result()[metric] == single.result()[metric], metric
    anew = finish(again.folder, *overrides, "trainer.max_steps=2")
    assert anew.steps_saved() == [1, 2]
    assert len(list((anew.folder / "checkpoints_before_1").glob("*.ckpt"))) == 10
    assert anew.result()["loss_curve"] == single.result()["loss_curve"][:2]
