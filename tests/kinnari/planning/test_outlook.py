"""The last page of a plan: hours become electricity, and the peak meets the device."""

from __future__ import annotations

import dataclasses

import pytest

from kinnari.planning.energy import Grid
from kinnari.planning.estimate import estimate
from kinnari.planning.outlook import live_gib, look_ahead
from kinnari.planning.request import Estimate, Hardware, Parallel, Phase, PlanRequest, RowTokens
from kinnari.strategies.tuning import Tuning
from kinnari.tasks import build
from kinnari.tasks.compose import compose
from tests.kinnari.planning.specs import V100, request


def estimate_of(request: PlanRequest) -> Estimate:
    memory = {"weights": 10.0, "activations": 2.0 * request.micro_size, "context": 0.5, "slack": 0.5}
    other = {"cache": 13.0}
    phases = {"training": Phase(memory_gib=memory, flops=1.0, seconds=3.6), "generation": Phase(memory_gib=other, flops=1.0, seconds=0.0)}
    hours = None if request.rows.records is None else request.rows.records / 1000
    return Estimate(
        memory_gib=memory, peak_memory_gib=sum(memory.values()), phases=phases, total_parameters=10, trainable_parameters=1,
        flops_per_step=1e12, seconds_per_step=3.6, tokens_per_step=100.0, communication_bytes=0.0, hours_per_epoch=hours,
    )  # fmt: skip


@pytest.fixture(scope="module")
def request_of():
    spec = build.model_spec(compose(["model=tiny_causal"]))

    def make(memory: float | None, records: int | None = None, watts: float | None = 250, micro: int = 2) -> PlanRequest:
        hardware = Hardware(accelerator="gpu", devices=4, memory_gib=memory, watts=watts)
        return PlanRequest(spec=spec, tuning=Tuning(), parallel=Parallel("ddp"), hardware=hardware, micro_size=micro, global_size=32,
                           rows=RowTokens(width=8, records=records))  # fmt: skip

    return make


GRID = Grid(0.5, "by hand")


def test_an_epoch_is_paid_for_and_a_run_where_no_epoch_is_known(request_of):
    # 4 x 250 W for 2 hours at PUE 1.2: 2.4 kWh; 1000 steps of 3.6 s are one hour
    epoch = look_ahead(request_of(80, records=2000), estimate_of, headroom=0, grid=GRID, pue=1.2, steps=1000)
    assert (epoch.energy_kwh, epoch.carbon_kg, epoch.hours_of_run) == pytest.approx((2.4, 1.2, 1.0))
    run = look_ahead(request_of(80), estimate_of, headroom=0, grid=GRID, steps=1000)
    assert (run.energy_kwh, run.estimate.hours_per_epoch) == (pytest.approx(1.0), None)


def test_what_is_not_known_is_not_told(request_of):
    assert look_ahead(request_of(80), estimate_of, headroom=0, grid=GRID).energy_kwh is None
    assert look_ahead(request_of(80, records=10, watts=None), estimate_of, headroom=0, grid=GRID).carbon_kg is None
    free = look_ahead(request_of(None), estimate_of, headroom=0, grid=GRID)
    assert free.fits and free.values()["device_memory_gib"] is None and free.max_micro_size == 8


@pytest.mark.parametrize(
    ("memory", "headroom", "fits", "largest"), [(15, 0, True, 2), (15, 0.05, False, 1), (27, 0, True, 8), (12, 0, False, 0)]
)
def test_the_peak_meets_the_device_less_its_headroom(request_of, memory, headroom, fits, largest):
    # 11 GiB and 2 a row: 15 with two rows, 13 with one, 27 with eight
    outlook = look_ahead(request_of(memory), estimate_of, headroom=headroom, grid=GRID)
    assert (outlook.fits, outlook.max_micro_size, bool(outlook.advice)) == (fits, largest, not fits)


def test_live_tensors_are_all_but_context_and_slack_in_the_phase_that_has_most(request_of):
    estimate = estimate_of(request_of(80, micro=1))
    assert live_gib(estimate) == 13.0  # of generation; training has 12
    assert live_gib(dataclasses.replace(estimate, phases={"training": estimate.phases["training"]})) == 12.0


def test_a_paged_optimizer_fills_the_device_and_still_fits():
    """What it keeps there goes to the host as soon as others need the room: only the others must leave the headroom free."""

    def found(gib: float):
        asked = request("xglm564m", hardware=dataclasses.replace(V100, memory_gib=gib), optimizer="paged_adamw", micro_size=1)
        return look_ahead(asked, estimate, headroom=0.05, grid=Grid(0.5, "test"))

    needed = found(1000).estimate.needed_gib
    edge = found((needed + 0.001) / 0.95)
    memory = edge.request.hardware.memory_gib
    assert edge.fits and edge.max_micro_size >= 1 and edge.advice == []
    assert edge.estimate.peak_memory_gib == pytest.approx(memory) and edge.estimate.host_gib > 0
    tight = found((needed - 0.001) / 0.95)
    assert not tight.fits and tight.max_micro_size == 0 and all(advice.words for advice in tight.advice)
