"""What a sweep is given to compare, and what a rank tells of itself."""

from __future__ import annotations

import math

import pytest

from kinnari.errors import ConfigError
from kinnari.tasks.compose import compose
from kinnari.tasks.rank import who_am_i
from kinnari.tasks.result import config_hash
from kinnari.tasks.run import in_sweep, metric


def test_the_metric_is_a_number_of_the_result():
    assert metric("val/loss", {"status": "done", "val/loss": 2.5}) == 2.5
    assert metric("steps", {"steps": 4}) == 4.0


def test_what_could_not_be_measured_is_nan_so_that_no_search_takes_it_for_the_best():
    assert math.isnan(metric("val/loss", {"val/loss": None}))


def test_a_metric_that_is_not_reported_is_refused_with_those_that_are():
    with pytest.raises(ConfigError, match=r"task.metric=val/los is not reported .* choose one of steps, val/loss"):
        metric("val/los", {"status": "done", "steps": 4, "val/loss": 1.0})


def test_outside_hydra_there_is_no_sweep():
    assert not in_sweep()


def test_a_rank_tells_what_it_received(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    cfg = compose(["optimizer.lr=3e-4", "output_dir=here"])
    told = who_am_i(cfg)
    assert told.startswith(f"rank 1 of 2: config_hash={config_hash(cfg)} ")
    assert "optimizer.lr=0.0003" in told.split()


def test_the_hash_tells_settings_apart_and_not_folders():
    here, there = (compose(["seed=1", f"output_dir={folder}"]) for folder in ("here", "there"))
    assert config_hash(here) == config_hash(there)
    assert config_hash(here) != config_hash(compose(["seed=2", "output_dir=here"]))
