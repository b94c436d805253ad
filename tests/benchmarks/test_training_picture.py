"""The picture of a run holds what the run logged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from torch.utils.tensorboard import SummaryWriter

ROOT = Path(__file__).resolve().parents[2]
RESULT = {
    "val/loss_before": 3.0, "val/loss_after": 2.0, "loss_curve": [3.5, 2.5, 2.25, 2.125], "steps": 4, "seconds": 120.0,
    "total_parameters": 139_399_488, "trainable_parameters": 4_884_480, "peak_memory_gib": 2.6,
}  # fmt: skip


@pytest.fixture
def run_folder(tmp_path) -> Path:
    (tmp_path / "result.json").write_text(json.dumps(RESULT))
    with SummaryWriter(str(tmp_path / "tensorboard")) as writer:
        for step, loss in ((1, 2.5), (3, 2.0)):  # after the second and the fourth step
            writer.add_scalar("val/loss", loss, step)
    return tmp_path


def test_held_out_losses_stand_after_the_steps_they_were_measured_after(run_folder):
    from benchmarks.training_picture import read_curves

    curves = read_curves(run_folder)
    assert curves.training == [(1, 3.5), (2, 2.5), (3, 2.25), (4, 2.125)]
    assert curves.held_out == [(0, 3.0), (2, 2.5), (4, 2.0)]
    assert curves.title == "139 M parameters, 4.9 M trained, 4 steps in 2 min, 2.6 GiB"


def test_the_same_run_gives_the_same_picture(run_folder):
    pictures = [run_folder / "a" / "one.svg", run_folder / "two.svg"]
    for picture in pictures:
        subprocess.run([sys.executable, str(ROOT / "benchmarks" / "training_picture.py"), str(run_folder), str(picture)], check=True)
    assert pictures[0].read_bytes() == pictures[1].read_bytes()
    told = " ".join(ElementTree.parse(pictures[0]).getroot().itertext())
    for text in ("3.00", "2.00", "held out", "optimizer step", "4 steps in 2 min"):
        assert text in told


def test_the_committed_picture_is_of_a_run_of_the_default_model():
    told = " ".join(ElementTree.parse(ROOT / "docs" / "images" / "training.svg").getroot().itertext())
    assert "139 M parameters" in told and "48 steps" in told
