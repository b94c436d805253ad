"""The plans of a sweep side by side: model x strategy down, hardware across; green fits, red does not, grey could not be launched."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from kinnari.planning.outlook import Outlook
from kinnari.tasks import build
from kinnari.tasks.result import finite
from kinnari.tasks.rules import parallel_name

MATRIX, PAGE = "matrix.json", "matrix.html"

_LAYOUT = ("parallel", "micro_size", "global_size", "max_length", "gradient_checkpointing", "optimizer")
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem; color: #222; }
table { border-collapse: collapse; } caption { text-align: left; margin-bottom: .8rem; color: #555; }
th, td { border: 1px solid #ccc; padding: .45rem .7rem; text-align: left; vertical-align: top; }
th { background: #f4f4f4; font-weight: 600; }
.yes { background: #e3f4e6; } .no { background: #fbe4e1; } .refused { background: #eee; color: #666; max-width: 22rem; font-size: .85em; }
b { font-weight: 600; } small { color: #555; display: block; }
"""


def matrix_row(cfg: DictConfig, outlook: Outlook) -> dict[str, Any]:
    """The cell of one plan; `cfg` is that of the planned run."""
    values = outlook.values()
    names = ("fits", "peak_memory_gib", "device_memory_gib", "max_micro_size", "trainable_parameters", "total_parameters",
             "seconds_per_step", "hours_per_epoch", "hours_of_run", "energy_kwh", "carbon_kg", "advice")  # fmt: skip
    return _names(cfg) | {name: values[name] for name in names} | {"refused": None}


def refused_row(cfg: DictConfig, why: str) -> dict[str, Any]:
    """The cell of a combination that cannot be launched, with the reason."""
    return _names(cfg) | {"fits": False, "refused": why}


def _names(cfg: DictConfig) -> dict[str, Any]:
    parallel = build.plain(cfg.strategy.parallel)
    offloads = [key.removeprefix("offload_") for key in ("offload_optimizer", "offload_parameters") if parallel.get(key)]
    return {
        "task": cfg.task.name,
        "model": cfg.model.name,
        "tuning": cfg.strategy.tuning.name,
        "parallel": " + offload ".join([parallel_name(cfg), *offloads]),
        "hw": cfg.hw.name,
        "devices": cfg.hw.devices * cfg.hw.num_nodes,
        "micro_size": cfg.batch.micro_size,
        "global_size": cfg.batch.global_size,
        "max_length": cfg.model.max_length,
        "gradient_checkpointing": cfg.strategy.tuning.gradient_checkpointing,
        "optimizer": cfg.optimizer.name,
    }


def write_matrix(sweep: Path, last: int) -> list[dict[str, Any]]:
    """matrix.json and matrix.html of all plans of a sweep up to job `last`; returns the rows.

    Args:
        sweep: the folder of the sweep, a folder for each job beneath; jobs beyond `last` are of an earlier sweep.
    """
    files = [sweep / str(job) / "plan.json" for job in range(last + 1)]
    rows = [json.loads(file.read_text(encoding="utf-8"))["row"] | {"job": int(file.parent.name)} for file in files if file.is_file()]
    (sweep / MATRIX).write_text(json.dumps(finite(rows), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (sweep / PAGE).write_text(matrix_page(rows), encoding="utf-8")
    return rows


def matrix_page(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as one page of HTML: no scripts, nothing from elsewhere."""
    machines = list(dict.fromkeys(row["hw"] for row in rows))
    varied = [name for name in _LAYOUT if _varies(rows, name)]
    lines = list(dict.fromkeys(_line(row, varied) for row in rows))
    body = [f"<tr><th>model</th><th>strategy</th>{''.join(f'<th>{html.escape(name)}</th>' for name in machines)}</tr>"]
    for line in lines:
        cells = [[row for row in rows if _line(row, varied) == line and row["hw"] == name] for name in machines]
        body.append(f"<tr><th>{html.escape(line[0])}</th><th>{html.escape(line[1])}</th>{''.join(map(_cell, cells))}</tr>")
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>What fits</title><style>{_STYLE}</style>\n<h1>What fits</h1>\n'
        "<table><caption>GiB of one device at the peak; hours and kilowatt-hours of an epoch, or of the run where an epoch is not "
        f"known.</caption>\n{chr(10).join(body)}\n</table></html>\n"
    )


def _varies(rows: Sequence[dict[str, Any]], name: str) -> bool:
    """Whether a setting tells rows of the same model, tuning and machine apart."""
    alike = {(row["model"], row["tuning"], row["hw"]) for row in rows}
    return len({(row["model"], row["tuning"], row["hw"], row[name]) for row in rows}) > len(alike)


def _line(row: dict[str, Any], varied: Sequence[str]) -> tuple[str, str]:
    more = [f"{name}={row[name]}" if name != "parallel" else str(row[name]) for name in varied]
    return row["model"], " · ".join([row["tuning"], *more])


def _cell(rows: Sequence[dict[str, Any]]) -> str:
    if not rows:
        return "<td></td>"
    return "".join(_told(row) for row in rows[-1:])  # combinations that nothing here tells apart: the latest


def _told(row: dict[str, Any]) -> str:
    if row["refused"] is not None:
        return f'<td class="refused">{html.escape(row["refused"])}</td>'
    kind, word = ("yes", "fits") if row["fits"] else ("no", "does not fit")
    of = "" if row["device_memory_gib"] is None else f" of {row['device_memory_gib']:g}"
    hours = row["hours_of_run"] if row["hours_per_epoch"] is None else row["hours_per_epoch"]
    small = [
        f"{row['devices']} devices, " + (f"up to {row['max_micro_size']} rows a forward" if row["max_micro_size"] else "not even one row")
    ]
    if hours is not None:
        small.append(f"{hours:,.2f} h")
    if row["energy_kwh"] is not None:
        small.append(f"{row['energy_kwh']:,.2f} kWh, {row['carbon_kg']:,.2f} kg CO2e")
    small += [f"try {advice}" for advice in row["advice"][:1]]
    told = "".join(f"<small>{html.escape(line)}</small>" for line in small)
    return f'<td class="{kind}"><b>{row["peak_memory_gib"]:.1f}{of} GiB</b> {word}{told}</td>'
