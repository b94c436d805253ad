"""The tables of task=leaderboard, for terminal and page alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kinnari.evaluation.comparison import Comparison
from kinnari.tasks.inspect_page import Figures
from kinnari.tasks.leaderboard_runs import ASKED, Judged, Scored, differing


def score_table(scored: Sequence[Scored]) -> Figures:
    """Models in rows, benchmarks in columns; the last row is the majority."""
    names = list(dict.fromkeys(one.name for one in scored))
    benchmarks = list(dict.fromkeys(one.benchmark for one in scored))
    by_place = {(one.name, one.benchmark): one for one in scored}
    metrics = {one.benchmark: one.metric for one in scored}
    rows = [[name, *(_cell(by_place.get((name, benchmark))) for benchmark in benchmarks)] for name in names]
    majorities = [sorted({per_cent(one.numbers.get("majority")) for one in scored if one.benchmark == name}) for name in benchmarks]
    rows += [["always the most frequent class", *(" / ".join(found) for found in majorities)]] if scored else []
    columns = ["model", *(f"{name} {metrics[name]}" for name in benchmarks)]
    return Figures("Scores in per cent, 95 % bootstrap interval, number of questions", columns, rows)


def pairs_table(pairs: Sequence[tuple[Comparison, Scored, Scored]]) -> Figures:
    """A row for each two models on a benchmark."""
    rows = [
        [
            found.benchmark,
            found.first,
            found.second,
            str(found.n),
            f"{100 * found.difference.gain:+.1f} [{100 * found.difference.gain_low:+.1f} to {100 * found.difference.gain_high:+.1f}]",
            f"{len(found.better)} / {len(found.worse)}",
            _probability(found.difference.sign_p),
            ", ".join(differing(one, other)) or "-",
        ]
        for found, one, other in pairs
    ]
    columns = ["benchmark", "first", "second", "n", "points", "better / worse", "p", "asked differently"]
    return Figures("The second against the first, on the same questions", columns, rows)


def judged_table(judged: Sequence[Judged]) -> Figures:
    """A row for each run of task=judge; a win is the second's."""
    rows = [
        [
            one.name,
            f"{one.result['judge/second']} against {one.result['judge/first']}",
            str(one.result["judge/model"]),
            str(one.result["judge/n"]),
            *(per_cent(one.result[f"judge/{key}"]) for key in ("win", "tie", "loss")),
            with_interval(one.result, "judge/win_rate"),
        ]
        for one in judged
    ]
    return Figures("Answers side by side", ["run", "compared", "judge", "n", "win", "tie", "loss", "win rate"], rows)


def settings_table(scored: Sequence[Scored]) -> Figures:
    """How each was asked."""
    rows = [[f"{one.name}, {one.benchmark}", *(_shown(one.how.get(key)) for key in ASKED)] for one in scored]
    return Figures("How they were asked", ["model, benchmark", *ASKED], rows)


def with_interval(numbers: Mapping[str, Any], key: str) -> str:
    """52.1 [48.0-56.2]"""
    low, high = numbers.get(f"{key}_low"), numbers.get(f"{key}_high")
    value = per_cent(numbers.get(key))
    return value if low is None or high is None else f"{value} [{per_cent(low)}-{per_cent(high)}]"


def per_cent(value: float | None) -> str:
    """62.5, or - where there is none."""
    return "-" if value is None else f"{100 * value:.1f}"


def _cell(one: Scored | None) -> str:
    if one is None or one.numbers.get(one.metric) is None:
        return "-"
    found = {"value": one.numbers[one.metric], "value_low": one.numbers["ci_low"], "value_high": one.numbers["ci_high"]}
    return f"{with_interval(found, 'value')} n {int(one.numbers['n'] or 0)}"


def _probability(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else "<0.001"


def _shown(value: Any) -> str:
    return "-" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
