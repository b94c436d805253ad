"""task=leaderboard: several runs side by side, as a page, as json and in the terminal.

output_dir/leaderboard.html   tables and pictures, no scripts, nothing from a network
           leaderboard.json   the same numbers, and the ids of all questions on which two models differ
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.table import Table

from kinnari.evaluation.comparison import Comparison, as_json, comparison
from kinnari.tasks import build
from kinnari.tasks.inspect_page import Figures
from kinnari.tasks.leaderboard_page import Difference, page
from kinnari.tasks.leaderboard_runs import Judged, Scored, check_unique, differing, read_runs
from kinnari.tasks.leaderboard_tables import judged_table, pairs_table, score_table, settings_table
from kinnari.tasks.result import finite
from kinnari.text.terminal import terminal


def leaderboard(cfg: DictConfig) -> dict[str, Any]:
    """Read `task.runs`, compare every two models that were asked the same, write.

    Raises:
        ConfigError: a folder that is no finished run of task=evaluate or task=judge.
    """
    task = build.plain(cfg.task)
    scored, judged = read_runs(task["runs"], task["names"])
    check_unique(scored)
    pairs = compared(scored, cfg.seed)
    tables = [score_table(scored), pairs_table(pairs), judged_table(judged)]
    folder = Path(cfg.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    differences = [Difference(found, one, other, task["shown"]) for found, one, other in pairs]
    html = page([*tables, settings_table(scored)], scored, judged, differences)
    (folder / "leaderboard.html").write_text(html, encoding="utf-8", errors="backslashreplace")
    document = _document(scored, judged, pairs)
    (folder / "leaderboard.json").write_text(json.dumps(finite(document), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for table in tables:
        _print(table)
    names, benchmarks = ({getattr(one, part) for one in scored} for part in ("name", "benchmark"))
    return {"models": len(names), "benchmarks": len(benchmarks), "comparisons": len(pairs), "judgements": len(judged)}


def compared(scored: Sequence[Scored], seed: int) -> list[tuple[Comparison, Scored, Scored]]:
    """Every two models on every benchmark that both sat, in the order of the runs."""
    found = []
    for one, other in itertools.combinations(scored, 2):
        if one.benchmark != other.benchmark:
            continue
        told = comparison(one.benchmark, (one.name, one.rows), (other.name, other.rows), seed=seed)
        if told is not None:
            found.append((told, one, other))
    return found


def _document(scored: Sequence[Scored], judged: Sequence[Judged], pairs: Sequence[tuple[Comparison, Scored, Scored]]) -> dict[str, Any]:
    return {
        "scores": [
            {"model": one.name, "benchmark": one.benchmark, "metric": one.metric, **one.numbers, "how": dict(one.how)} for one in scored
        ],
        "comparisons": [as_json(found) | {"asked_differently": differing(one, other)} for found, one, other in pairs],
        "judgements": [{"run": one.name, **one.result} for one in judged],
    }


def _print(figures: Figures) -> None:
    if not figures.rows:
        return
    table = Table(title=figures.title)
    for i, column in enumerate(figures.columns):
        table.add_column(column, justify="right" if i else "left")
    for row in figures.rows:
        table.add_row(*row)
    terminal().print(table)
