"""Electricity of training: measured where there are meters, counted from watts where there are none, beside what was planned."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch

import callbacks.energy
from callbacks import Energy
from kinnari.errors import ConfigError


class Module:
    device = torch.device("cpu")

    def __init__(self) -> None:
        self.logged: dict[str, float] = {}

    def log_dict(self, values, batch_size):
        self.logged = values


@pytest.fixture
def trainer(monkeypatch):
    monkeypatch.setattr(callbacks.energy, "sum_over_ranks", lambda strategy, values: values)
    return SimpleNamespace(local_rank=0, strategy=None, global_step=0, world_size=2, num_nodes=1, is_global_zero=True)


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(callbacks.energy.time, "monotonic", lambda: now.seconds)
    return now


def train(callback: Energy, trainer, clock, steps: int, seconds: float) -> Module:
    module = Module()
    callback.on_train_start(trainer, module)
    for step in range(1, steps + 1):
        clock.seconds += seconds
        trainer.global_step = step
        callback.on_train_batch_end(trainer, module, None, None, step)
    callback.on_train_end(trainer, module)
    return module


def test_without_meters_the_watts_are_counted_and_it_says_so(tmp_path, trainer, clock, monkeypatch):
    monkeypatch.setattr(callbacks.energy, "find_spec", lambda name: None)
    # two devices of 300 W for 4 x 900 s in a building of PUE 1.5: 0.9 kWh
    (tmp_path / "planned.json").write_text(json.dumps({"seconds_per_step": 600, "watts": 300, "devices": 2}), encoding="utf-8")
    module = train(Energy(str(tmp_path), every_n_steps=2, watts=300, kg_per_kwh=0.4, pue=1.5), trainer, clock, steps=4, seconds=900)
    assert module.logged == pytest.approx({"energy/kwh": 0.9, "energy/carbon_kg": 0.36, "energy/planned_kwh": 0.6})
    told = json.loads((tmp_path / "energy.json").read_text(encoding="utf-8"))
    assert told["measured_by"].startswith("not measured") and told["hours"] == pytest.approx(1.0)
    assert (told["kwh"], told["planned_kwh"], told["carbon_kg"]) == pytest.approx((0.9, 0.6, 0.36))


def test_the_meters_of_this_machine_are_read_and_nothing_leaves_it(tmp_path, trainer, clock, monkeypatch):
    asked = {}
    from codecarbon import OfflineEmissionsTracker

    class Tracker(OfflineEmissionsTracker):
        def __init__(self, **arguments):
            asked.update(arguments)
            super().__init__(**arguments)

    monkeypatch.setattr("codecarbon.OfflineEmissionsTracker", Tracker)
    monkeypatch.chdir(tmp_path)
    callback = Energy(None, every_n_steps=1, watts=65, kg_per_kwh=0.5)
    module = train(callback, trainer, clock, steps=1, seconds=1)
    assert asked["output_methods"] == [] and asked["emissions_endpoint"] is None and asked["electricitymaps_api_token"] is None
    assert "processor" in callback.measured_by
    assert module.logged["energy/carbon_kg"] == pytest.approx(0.5 * module.logged["energy/kwh"])
    assert list(tmp_path.iterdir()) == []


def test_kilograms_of_the_tracker_are_kilowatt_hours(trainer, clock, monkeypatch):
    # its grid is set to 1 kg/kWh
    tracker = SimpleNamespace(flush=lambda: 2.5, stop=lambda: None)
    monkeypatch.setattr(callbacks.energy, "_tracker", lambda device, pue: (tracker, "meters"))
    module = train(Energy(None, every_n_steps=1, kg_per_kwh=0.2), trainer, clock, steps=1, seconds=1)
    assert module.logged == pytest.approx({"energy/kwh": 2.5, "energy/carbon_kg": 0.5})


def test_an_unknown_country_ends_the_run_before_it_begins():
    with pytest.raises(ConfigError, match=r"plan\.country=Narnia"):
        Energy(country="Narnia")
