"""How much electricity training takes, measured, beside what the plan said."""

from __future__ import annotations

import json
import logging
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from kinnari.planning.energy import energy_kwh, grid
from kinnari.strategies.microbatches import sum_over_ranks

log = logging.getLogger(__name__)


class Energy(pl.Callback):
    """Logs energy/kwh and energy/carbon_kg since training began, and energy/planned_kwh; writes energy.json at the end.

    The meters are codecarbon's, one for each machine, and nothing leaves the machine: NVML for NVIDIA cards, RAPL for processors that
    let it be read, else the processor's TDP times its load; memory is always an estimate. Without codecarbon, or where cards train that
    it has no meter for, the watts of the hw profile times the time; `measured_by` says which. It meters whole machines, so what else
    runs there is in it. Of a resumed run the steps since it was resumed are counted.

    Args:
        folder: receives energy.json; None writes nothing. planned.json there, if there is one, has watts, devices and seconds of a step.
        every_n_steps: optimizer steps between two values.
        watts: of one device at full load.
        country, kg_per_kwh: of the electricity, see `kinnari.planning.energy.grid`.
        pue: power of the building over that of its computers.

    Raises:
        ConfigError: no such country.
    """

    def __init__(
        self,
        folder: str | None = None,
        every_n_steps: int = 10,
        watts: float | None = None,
        country: str | None = None,
        kg_per_kwh: float | None = None,
        pue: float = 1.0,
    ) -> None:
        self.folder = None if folder is None else Path(folder)
        self.every_n_steps, self.watts, self.pue = every_n_steps, watts, pue
        self.grid = grid(country, kg_per_kwh)
        self.measured_by = "nothing"
        self.planned: dict[str, float] | None = None
        self._tracker: Any = None
        self._began, self._steps = 0.0, 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        file = None if self.folder is None else self.folder / "planned.json"
        self.planned = json.loads(file.read_text(encoding="utf-8")) if file is not None and file.is_file() else None
        self._began, self._steps = time.monotonic(), 0
        if trainer.local_rank == 0:
            self._tracker, self.measured_by = _tracker(pl_module.device, self.pue)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._steps += 1
        if trainer.global_step % self.every_n_steps == 0:
            measured = self._total(trainer)
            values = {"energy/kwh": measured, "energy/carbon_kg": measured * self.grid.kg_per_kwh}
            planned = self.planned_kwh()
            pl_module.log_dict(values if planned is None else values | {"energy/planned_kwh": planned}, batch_size=1)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        measured, planned = self._total(trainer), self.planned_kwh()
        self._stop()
        if not trainer.is_global_zero:
            return
        beside = "nothing was planned" if planned is None else f"the plan said {planned:.4g}"
        kg = measured * self.grid.kg_per_kwh
        log.info("%.4g kWh (%s), %s; %.4g kg CO2e (%s)", measured, self.measured_by, beside, kg, self.grid.source)
        if self.folder is not None:
            found = {
                "kwh": measured,
                "carbon_kg": kg,
                "planned_kwh": planned,
                "hours": (time.monotonic() - self._began) / 3600,
                "measured_by": self.measured_by,
                "kg_per_kwh": self.grid.kg_per_kwh,
                "grid": self.grid.source,
                "pue": self.pue,
            }
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "energy.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._stop()

    def planned_kwh(self) -> float | None:
        """Of the steps so far; None where nothing was planned."""
        if self.planned is None:
            return None
        hours = self._steps * self.planned["seconds_per_step"] / 3600
        return energy_kwh(watts=self.planned["watts"], hours=hours, devices=int(self.planned["devices"]), pue=self.pue)

    def _total(self, trainer: pl.Trainer) -> float:
        """Kilowatt-hours of all machines so far; every rank must call it."""
        mine = self._mine(trainer) if trainer.local_rank == 0 else 0.0
        return float(sum_over_ranks(trainer.strategy, torch.tensor([mine], dtype=torch.float64))[0])

    def _mine(self, trainer: pl.Trainer) -> float:
        """Of this machine."""
        told = None if self._tracker is None else self._tracker.flush()
        if told is not None:  # kilograms, of a grid of one kilogram a kilowatt-hour
            return float(told)
        hours, devices = (time.monotonic() - self._began) / 3600, trainer.world_size // trainer.num_nodes
        self.measured_by = "not measured: the watts of hw= times the time"
        return energy_kwh(watts=self.watts or 0.0, hours=hours, devices=devices, pue=self.pue)

    def _stop(self) -> None:
        if self._tracker is not None:
            self._tracker.stop()
            self._tracker = None


def _tracker(device: torch.device, pue: float) -> tuple[Any, str]:
    """(codecarbon's tracker of this machine, started, or None; what its meters are)."""
    if find_spec("codecarbon") is None:
        return None, "nothing"
    from codecarbon import OfflineEmissionsTracker
    from codecarbon.core import cpu, gpu

    logging.getLogger("codecarbon").setLevel(logging.ERROR)  # it tells of its settings before it comes to its log_level

    cards = gpu.is_nvidia_system()
    if device.type == "cuda" and not cards:
        return None, "nothing"
    tracker = OfflineEmissionsTracker(
        force_carbon_intensity_g_co2e_kwh=1000.0,  # so that its kilograms are kilowatt-hours; the grid is this callback's
        pue=pue,
        output_methods=[],  # no file, no server: whatever a .codecarbon.config says
        output_handlers=[],
        emissions_endpoint=None,
        electricitymaps_api_token=None,
        measure_power_secs=15,
        log_level="error",
        allow_multiple_runs=True,
    )
    tracker.start()
    meters = ["NVML for cards"] if cards else []
    meters.append("RAPL for the processor" if cpu.is_rapl_available() else "TDP x load for the processor")
    return tracker, ", ".join([*meters, "an estimate for memory"])
