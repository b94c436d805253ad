"""What a PPO variant of `benchmarks/ppo.py` took: seconds of every update and memory of the process. Imports nothing but Python's own
library, since TRL's variants run in an environment without Kinnari."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STATUS = Path("/proc/self/status")


def resident_gib(name: str = "VmRSS") -> float:
    """Memory of this process now (VmRSS) or at its highest (VmHWM), GiB; Linux only."""
    for line in STATUS.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 2**20  # VmRSS:   123456 kB
    raise LookupError(f"{STATUS} has no {name}")


def clock(settings: dict[str, Any]) -> Callable[[], float]:
    """Wall-clock seconds, or processor seconds over threads: what the wall clock would show if nobody else used the machine."""
    if settings["clock"] == "wall":
        return time.perf_counter
    return lambda: time.process_time() / settings["threads"]


@dataclass
class UpdateLog:
    """Updates of one run; the first warms up and is left out of the rates.

    Args:
        settings: of the benchmark.
        bare_gib: memory of the process with its libraries, before any model.
    """

    settings: dict[str, Any]
    bare_gib: float = field(default_factory=resident_gib)
    idle_gib: float = 0.0
    probe: float = 0.0
    seconds: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    kl: list[float] = field(default_factory=list)
    peak_gib: float = 0.0
    _last: float = 0.0

    def begin(self) -> None:
        """The models are there and the first update starts now; each later one starts where the one before ended."""
        self.now = clock(self.settings)
        self.idle_gib = resident_gib()
        self._last = self.now()

    def add(self, *, tokens: int, kl: float) -> None:
        """An update has ended.

        Args:
            tokens: of its answers.
            kl: to the reference, mean over its answers, nats.
        """
        now = self.now()
        self.seconds.append(now - self._last)
        self._last = now
        self.tokens.append(tokens)
        self.kl.append(kl)
        self.peak_gib = resident_gib("VmHWM")

    def result(self) -> dict[str, Any]:
        """The row of the table."""
        seconds = self.seconds[1:]
        return {
            "samples_per_second": self.settings["batch"] * len(seconds) / sum(seconds),
            "update_seconds": sum(seconds) / len(seconds),
            "peak_gib": self.peak_gib,
            "run_gib": self.peak_gib - self.bare_gib,
            "step_gib": self.peak_gib - self.idle_gib,
            "updates": len(self.seconds),
            "tokens": sum(self.tokens),
            "probe": self.probe,
            "first_kl": self.kl[0],
            "seconds": self.seconds,
        }
