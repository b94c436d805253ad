"""Memory by component as stacked bars: the phases of the run, what is advised, and the line of the device."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kinnari.planning.outlook import Outlook
from kinnari.planning.request import COMPONENTS

MOST_ADVICE = 3


def draw(outlook: Outlook, path: Path) -> None:
    """Write the picture; PNG, 140 dots an inch."""
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # matplotlib takes a second to import
    from matplotlib.figure import Figure

    bars = bars_of(outlook)
    components = [name for name in COMPONENTS if any(bar.get(name) for bar in bars.values())]
    components += sorted({name for bar in bars.values() for name in bar} - set(COMPONENTS))
    figure = Figure(figsize=(9, 1.4 + 0.55 * len(bars)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    ends = dict.fromkeys(bars, 0.0)
    colours = colormaps["tab20"]
    for number, name in enumerate(components):
        widths = [bar.get(name, 0.0) for bar in bars.values()]
        axes.barh(list(bars), widths, left=list(ends.values()), label=name, color=colours(number % colours.N))
        ends = {label: end + width for (label, end), width in zip(ends.items(), widths, strict=True)}
    for label, end in ends.items():
        axes.annotate(f" {end:.1f}", (end, label), va="center")
    memory = outlook.request.hardware.memory_gib
    if memory is not None:
        axes.axvline(memory, color="black", linestyle="--", linewidth=1, label=f"device: {memory:g} GiB")
    axes.invert_yaxis()
    axes.margins(x=0.08)
    axes.set_xlabel("GiB of one device")
    axes.set_title(f"{outlook.request.spec.name}, {outlook.request.hardware.name}", loc="left")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize="small")
    figure.savefig(path, dpi=140)


def bars_of(outlook: Outlook) -> dict[str, Mapping[str, float]]:
    """Label -> component -> GiB."""
    bars: dict[str, Mapping[str, float]] = {name: phase.memory_gib for name, phase in outlook.estimate.phases.items()}
    for advice in outlook.advice[:MOST_ADVICE]:
        words = [
            word.removeprefix("strategy.tuning.").removeprefix("strategy.parallel.").removeprefix("strategy/") for word in advice.words
        ]
        bars["\n".join(words)] = advice.memory_gib
    return bars
