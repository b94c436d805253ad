"""A plan as tables in the terminal."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig
from rich.table import Table

from kinnari.planning.outlook import Outlook, shown
from kinnari.tasks.rules import parallel_name
from kinnari.text.terminal import terminal

MOST_ADVICE = 5


def print_outlook(cfg: DictConfig, outlook: Outlook, values: dict[str, Any], words: Sequence[str] = ()) -> None:
    """Memory by component, what the run costs, what was measured, and what would make it fit.

    Args:
        values: of result.json, those of a measurement among them.
        words: of the command line.
    """
    console = terminal()
    hardware = outlook.request.hardware
    title = f"{cfg.model.name}, {cfg.strategy.tuning.name} / {parallel_name(cfg)}, task={outlook.request.task} on {hardware.name}"
    console.print(f"Memory of one device, GiB: {title}", soft_wrap=True, highlight=False)
    console.print(memory_table(outlook, values.get("measured_gib")))
    console.print(cost_table(outlook, values))
    console.print(f"Tokens: {outlook.told}.", style="dim", soft_wrap=True)
    if outlook.fits:
        return
    if outlook.advice and not outlook.advice[0].fits:
        console.print("Nothing tried here makes it fit; nearest comes:", style="red")
    else:
        console.print("It would fit with, the cheapest first:", style="yellow")
    for advice in outlook.advice[:MOST_ADVICE]:
        console.print(f"  {advice.told()}", soft_wrap=True, markup=False, highlight=False)
    if outlook.advice:
        told = f"The first as a whole:\n  {command(words, outlook.advice[0].words)}"
        console.print(told, soft_wrap=True, markup=False, highlight=False)


def command(words: Sequence[str], changes: Sequence[str]) -> str:
    """The command line of a plan with other words: those about the same settings give way."""
    changed = {word.partition("=")[0] for word in changes}
    kept = [word for word in words if word.partition("=")[0] not in changed]
    return shlex.join(["python", "launch.py", *kept, *changes])


def memory_table(outlook: Outlook, measured: dict[str, float] | None = None) -> Table:
    """A row for each component, a column for each phase."""
    phases, memory = outlook.estimate.phases, outlook.request.hardware.memory_gib
    table = Table()
    table.add_column("")
    for name in phases:
        table.add_column(name, justify="right")
    if measured is not None:
        table.add_column("measured", justify="right")
    everything = {name: max(phase.memory_gib.get(name, 0.0) for phase in phases.values()) for p in phases.values() for name in p.memory_gib}
    for name in {**shown(everything), **(measured or {})}:
        cells = [f"{phase.memory_gib.get(name, 0.0):.3f}" for phase in phases.values()]
        told = [] if measured is None else [f"{measured[name]:.3f}" if name in measured else ""]
        table.add_row(name, *cells, *told)
    table.add_section()
    room = "" if memory is None else f" of {memory:g}"
    blank = [] if measured is None else [""]
    table.add_row(
        "together", *(f"{phase.peak_gib:.3f}{room}" for phase in phases.values()), *blank, style="green" if outlook.fits else "red"
    )
    return table


def cost_table(outlook: Outlook, values: dict[str, Any]) -> Table:
    """Everything else, one number a row; what is not known is said to be."""
    table = Table(show_header=False)
    fits = f"{'fits' if outlook.fits else 'does not fit'}: {values['peak_memory_gib']:.2f} GiB"
    of = "" if values["device_memory_gib"] is None else f" of {values['device_memory_gib']:g} GiB"
    rows = {
        "verdict": f"{fits}{of}, "
        + (f"up to {values['max_micro_size']} rows a forward" if values["max_micro_size"] else "not even one row"),
        "trained parameters": f"{values['trainable_parameters']:,} of {values['total_parameters']:,}",
        "work of a step": f"{values['flops_per_step'] / 1e12:,.2f} TFLOP, {values['tokens_per_step']:,.0f} tokens",
        "time of a step": _told(values["seconds_per_step"], "s", "hw.peak_tflops is not known"),
        "an epoch": _told(values["hours_per_epoch"], "h", "not known"),
        "the run": _told(values["hours_of_run"], "h", "not known"),
        "electricity": _told(values["energy_kwh"], "kWh", "not known"),
        "carbon dioxide": f"{_told(values['carbon_kg'], 'kg', 'not known')} ({outlook.grid.kg_per_kwh:g} kg/kWh, {outlook.grid.source})",
    }
    if outlook.estimate.host_gib:
        rows["host memory"] = f"{outlook.estimate.host_gib:.2f} GiB for each device"
    if "measured_peak_gib" in values:
        by = f"measured by {values['measured_by']}"
        rows[by] = f"{values['measured_peak_gib']:.4f} GiB, predicted {values['predicted_gib']:.4f}: {values['relative_error']:+.1%}"
    for name, told in rows.items():
        table.add_row(name, told)
    return table


def _told(value: float | None, unit: str, unknown: str) -> str:
    return unknown if value is None else f"{value:,.3g} {unit}" if value < 1000 else f"{value:,.0f} {unit}"
