"""Electricity and carbon dioxide of a run: watts x hours x kg/kWh, with the grid of a country from codecarbon's data.

    energy_kwh(watts=300, hours=500) * Grid(0.432, "given").kg_per_kwh      64.8 kg, as WangChanGLM published for its training

The data are one file of the package codecarbon (MIT; its figures come from Our World in Data and Ember, CC BY 4.0), read in place:
neither the package is imported nor the network asked.
"""

from __future__ import annotations

import difflib
import functools
import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kinnari.errors import ConfigError, need_number

WORLD_KG_PER_KWH = 0.475  # IEA, Global Energy & CO2 Status Report 2019; codecarbon falls back on the same figure
_MIX = Path("data", "private_infra", "global_energy_mix.json")


@dataclass(frozen=True)
class Grid:
    """Where the electricity comes from.

    Attributes:
        kg_per_kwh: carbon dioxide equivalents of a kilowatt-hour.
        source: in words: the country and year of the figure, or that it was given.
    """

    kg_per_kwh: float
    source: str


def grid(country: str | None = None, kg_per_kwh: float | None = None) -> Grid:
    """The electricity of a country, the user's own figure, or the average of the world.

    Args:
        country: ISO code of three letters or English name, such as THA or Thailand; None for the world.
        kg_per_kwh: takes the place of the country's figure: that of a provider, or of an hour.

    Raises:
        ConfigError: no such country, codecarbon is not installed, or the figure is no number of at least 0.
    """
    need_number("plan.kg_per_kwh", kg_per_kwh, least=0, null="the figure of plan.country")
    if kg_per_kwh is not None:
        return Grid(float(kg_per_kwh), "as given")
    if country is None:
        return Grid(WORLD_KG_PER_KWH, "world average 2019, IEA")
    mix = _energy_mix()
    names = {str(entry["country_name"]).casefold(): code for code, entry in mix.items()}
    code = names.get(str(country).casefold(), str(country).upper())
    if code not in mix:
        known = {**names, **{c.casefold(): c for c in mix}}
        near = [f"{known[n]} ({mix[known[n]]['country_name']})" for n in difflib.get_close_matches(str(country).casefold(), known, 3)]
        meant = f"Did you mean {' or '.join(dict.fromkeys(near))}? Or give" if near else "Give an ISO code of three letters such as THA, or"
        raise ConfigError(f"plan.country={country} is in no row of codecarbon's table of {len(mix)} countries. {meant} plan.kg_per_kwh.")
    found = mix[code]
    return Grid(round(found["carbon_intensity"] / 1000, 6), f"{found['country_name']} {found['year']}, codecarbon's data")


def energy_kwh(*, watts: float, hours: float, devices: int = 1, pue: float = 1.0) -> float:
    """Kilowatt-hours of devices under full load.

    Args:
        watts: of one device.
        pue: power of the whole building over that of its computers.
    """
    return watts * devices * hours * pue / 1000


@functools.lru_cache(maxsize=1)
def _energy_mix() -> dict[str, Any]:
    """ISO code -> its row: grams per kWh (`carbon_intensity`), `year`, `country_name`."""
    found = find_spec("codecarbon")
    if found is None or found.origin is None:
        raise ConfigError(
            "plan.country needs the package codecarbon, whose data tell how a country makes its electricity: "
            "pip install 'kinnari[energy]'. Or give plan.kg_per_kwh yourself, or leave both null for the average of the world."
        )
    return json.loads((Path(found.origin).parent / _MIX).read_text(encoding="utf-8"))
