"""Electricity and carbon dioxide: figures that were published, and countries by name."""

from __future__ import annotations

import json
from importlib import resources

import pytest

from kinnari.errors import ConfigError
from kinnari.planning import energy
from kinnari.planning.energy import WORLD_KG_PER_KWH, energy_kwh, grid


def test_the_published_training_of_wangchanglm_comes_out():
    # README of PyThaiNLP/WangChanGLM: 500 hours on V100 (300 W), 0.432 kg/kWh, no PUE: 64.8 kg
    kwh = energy_kwh(watts=300, hours=500)
    assert kwh == pytest.approx(150)
    assert kwh * grid(kg_per_kwh=0.432).kg_per_kwh == pytest.approx(64.8)


def test_devices_and_the_building_multiply():
    # 4 x 300 W for 2 h in a building of PUE 1.5: 3.6 kWh
    assert energy_kwh(watts=300, hours=2, devices=4, pue=1.5) == pytest.approx(3.6)


@pytest.mark.parametrize("name", ["THA", "tha", "Thailand"])
def test_a_country_goes_by_code_or_name(name):
    found = grid(name)
    assert 0.3 < found.kg_per_kwh < 0.7 and found.source.startswith("Thailand 20")


def test_nuclear_and_coal_grids_differ():
    assert grid("FRA").kg_per_kwh < 0.25 * grid("POL").kg_per_kwh


def test_no_country_is_the_world_as_codecarbon_has_it():
    told = json.loads((resources.files("codecarbon") / "data/private_infra/carbon_intensity_per_source.json").read_text(encoding="utf-8"))
    assert grid().kg_per_kwh == WORLD_KG_PER_KWH == told["world_average"] / 1000


def test_a_misspelt_country_is_told_what_is_near():
    with pytest.raises(ConfigError, match=r"plan\.country=Tailand .* Did you mean THA \(Thailand\)"):
        grid("Tailand")


def test_a_negative_figure_is_refused():
    with pytest.raises(ConfigError, match=r"plan\.kg_per_kwh=-1"):
        grid(kg_per_kwh=-1)


def test_without_codecarbon_a_country_says_what_to_install(monkeypatch):
    monkeypatch.setattr(energy, "find_spec", lambda name: None)
    energy._energy_mix.cache_clear()
    with pytest.raises(ConfigError, match=r"kinnari\[energy\]"):
        grid("THA")
    assert grid().kg_per_kwh == WORLD_KG_PER_KWH
