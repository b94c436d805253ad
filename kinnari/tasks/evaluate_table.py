"""The table that task=evaluate shows in the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.table import Table

from kinnari.evaluation.outcome import Outcome
from kinnari.text.terminal import terminal


def print_outcomes(outcomes: Sequence[Outcome]) -> None:
    """A line for each benchmark, and beneath it one for each domain."""
    table = Table(caption="per cent; in brackets 95 % bootstrap intervals; majority: always the most frequent class, or a choice at random")
    for column in ("benchmark", "n", "", "± standard error", "majority", "ties", "asked"):
        table.add_column(column, justify="left" if column in ("benchmark", "asked") else "right")
    for outcome in outcomes:
        for cells in _lines(outcome):
            table.add_row(*cells)
    terminal().print(table)


def _lines(outcome: Outcome) -> list[list[str]]:
    numbers = outcome.numbers
    value = f"{per_cent(numbers[outcome.metric])} [{per_cent(numbers['ci_low'])}-{per_cent(numbers['ci_high'])}]"
    asked = ", ".join(f"{key} {said}" for key, said in outcome.how.items() if said not in (0, "none"))
    first = [f"{outcome.name} {outcome.metric}", str(int(numbers["n"])), value, per_cent(numbers["stderr"]), per_cent(numbers["majority"]),
             str(int(numbers.get("ties", 0))), asked]  # fmt: skip
    others = [name for name in numbers if name in ("f1", "subject_mean") or "/" in name]
    return [first, *([f"  {name}", "", per_cent(numbers[name]), "", "", "", ""] for name in others)]


def per_cent(value: float) -> str:
    """62.5, or - where there is none."""
    return "-" if math.isnan(value) else f"{100 * value:.1f}"
