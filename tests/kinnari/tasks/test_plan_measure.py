"""A few real steps held against the prediction."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kinnari.errors import ConfigError
from kinnari.tasks.compose import compose
from kinnari.tasks.run import run


def planned(folder: Path, *words: str) -> dict:
    tiny = ["task=plan", "model=tiny_causal", "data.chatterbot.limit=40", "trainer.precision=32-true", "plan.measure=true"]
    run(compose([*tiny, f"output_dir={folder}", *words]))
    return json.loads((folder / "result.json").read_text(encoding="utf-8"))


def test_measuring_tells_how_far_the_prediction_is_off(tmp_path):
    result = planned(tmp_path, "plan.measure_steps=2", "strategy=full", f"preparation.cache_dir={tmp_path / 'cache'}")
    assert result["measured_by"] == "live tensors"
    assert result["relative_error"] == pytest.approx(result["predicted_gib"] / result["measured_peak_gib"] - 1)
    assert abs(result["relative_error"]) < 0.1
    # float32: four bytes a parameter, eight of AdamW's state
    assert result["measured_gib"]["weights"] * 2**30 == pytest.approx(4 * result["total_parameters"], rel=0.02)
    assert result["measured_gib"]["optimizer"] == pytest.approx(2 * result["measured_gib"]["weights"], rel=0.02)


def test_gpus_that_are_not_here_are_not_measured(tmp_path):
    with pytest.raises(ConfigError, match="plan.measure=true on hw=v100x4 needs 4 GPUs"):  # noqa: RUF043
        planned(tmp_path, "hw=v100x4")
