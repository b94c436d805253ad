"""The picture: a bar for each phase and each of the cheapest pieces of advice."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from kinnari.planning.advice import Advice
from kinnari.planning.request import Hardware, Phase
from kinnari.tasks.plan_picture import bars_of, draw


def outlook(advice: int) -> SimpleNamespace:
    phases = {"generation": Phase(memory_gib={"weights": 2.0, "cache": 1.0}, flops=1, seconds=None),
              "training": Phase(memory_gib={"weights": 2.0, "activations": 5.0}, flops=1, seconds=None)}  # fmt: skip
    told = [Advice((f"strategy/tuning=t{n}", "strategy.tuning.gradient_checkpointing=true"), 1, 1.0, 0.0, 1.0, 1.0, {"weights": 1.0})
            for n in range(advice)]  # fmt: skip
    request = SimpleNamespace(hardware=Hardware(name="here", memory_gib=6), spec=SimpleNamespace(name="llama"))
    return SimpleNamespace(estimate=SimpleNamespace(phases=phases), advice=told, request=request)


def test_phases_and_the_three_cheapest_changes_are_bars():
    bars = bars_of(outlook(5))
    assert list(bars) == ["generation", "training", *(f"tuning=t{n}\ngradient_checkpointing=true" for n in range(3))]
    assert bars["training"] == {"weights": 2.0, "activations": 5.0}


def test_a_picture_is_a_png(tmp_path: Path):
    draw(outlook(1), tmp_path / "memory.png")
    assert (tmp_path / "memory.png").read_bytes().startswith(b"\x89PNG\r\n")
