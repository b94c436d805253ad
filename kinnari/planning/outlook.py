"""What a plan says in the end: the estimate, whether it fits and what else would, hours, electricity and carbon dioxide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from kinnari.planning.advice import Advice, Estimator, advise, largest_micro_size, room_gib, usable_micro_sizes
from kinnari.planning.energy import Grid, energy_kwh
from kinnari.planning.request import Estimate, PlanRequest

NOT_LIVE = ("slack", "context")  # components that are no tensors


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """One planned run.

    Attributes:
        fits: into the device's memory less the headroom; True where the profile tells of no memory.
        max_micro_size: most rows of a forward that fit, of those that `global_size` can be laid out in; 0: not even one.
        advice: what would make it fit, the cheapest first; empty where it fits.
        hours_of_run: None where nothing is known of the device's speed or of the length of the run.
        energy_kwh, carbon_kg: of an epoch; of the run where an epoch is not known; None where neither is.
        grid: the electricity's source.
        told: where the numbers of tokens come from.
    """

    request: PlanRequest
    estimate: Estimate
    fits: bool
    max_micro_size: int
    advice: list[Advice]
    hours_of_run: float | None
    energy_kwh: float | None
    carbon_kg: float | None
    grid: Grid
    told: str

    def values(self) -> dict[str, Any]:
        """What result.json says."""
        estimate, hardware = self.estimate, self.request.hardware
        return {
            "fits": self.fits,
            "peak_memory_gib": estimate.peak_memory_gib,
            "memory_gib": dict(estimate.memory_gib),
            "device_memory_gib": hardware.memory_gib,
            "host_memory_gib": estimate.host_gib,
            "max_micro_size": self.max_micro_size,
            "trainable_parameters": estimate.trainable_parameters,
            "total_parameters": estimate.total_parameters,
            "flops_per_step": estimate.flops_per_step,
            "seconds_per_step": estimate.seconds_per_step,
            "tokens_per_step": estimate.tokens_per_step,
            "hours_per_epoch": estimate.hours_per_epoch,
            "hours_of_run": self.hours_of_run,
            "energy_kwh": self.energy_kwh,
            "carbon_kg": self.carbon_kg,
            "grid": asdict(self.grid),
            "advice": [advice.told() for advice in self.advice],
            "advice_details": [asdict(advice) for advice in self.advice],
            "phases": {name: asdict(phase) | {"peak_gib": phase.peak_gib} for name, phase in estimate.phases.items()},
            "tokens": self.told,
            "details": dict(estimate.details),
        }


def look_ahead(
    request: PlanRequest,
    estimate_of: Estimator,
    *,
    headroom: float,
    grid: Grid,
    pue: float = 1.0,
    steps: float | None = None,
    told: str = "",
) -> Outlook:
    """Everything a plan says about one run.

    Args:
        headroom: share of a device's memory that is to stay free, in [0, 1).
        pue: power of the building over that of its computers.
        steps: optimizer steps (task=ppo: iterations) of the run; None where that is not known.
    """
    estimate, room = estimate_of(request), room_gib(request, headroom)
    fits = estimate.needed_gib <= room
    unlimited = room == float("inf")
    largest = max(usable_micro_sizes(request), default=0) if unlimited else largest_micro_size(request, estimate_of, room)[0]
    advice = [] if fits else advise(request, estimate, estimate_of, room)
    run = None if steps is None or estimate.seconds_per_step is None else steps * estimate.seconds_per_step / 3600
    hours, hardware = run if estimate.hours_per_epoch is None else estimate.hours_per_epoch, request.hardware
    known = hours is not None and hardware.watts is not None
    kwh = energy_kwh(watts=hardware.watts or 0, hours=hours or 0, devices=hardware.world_size, pue=pue) if known else None
    return Outlook(
        request=request,
        estimate=estimate,
        fits=fits,
        max_micro_size=largest,
        advice=advice,
        hours_of_run=run,
        energy_kwh=kwh,
        carbon_kg=None if kwh is None else kwh * grid.kg_per_kwh,
        grid=grid,
        told=told,
    )


def shown(values: Mapping[str, float]) -> dict[str, float]:
    """Components that are worth a row, the largest first."""
    return {name: gib for name, gib in sorted(values.items(), key=lambda item: -item[1]) if gib > 0}


def live_gib(estimate: Estimate) -> float:
    """GiB of live tensors at the peak of the phase that has most of them."""
    return max(sum(gib for name, gib in phase.memory_gib.items() if name not in NOT_LIVE) for phase in estimate.phases.values())
