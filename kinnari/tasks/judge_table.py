"""What task=judge and task=questionnaire show in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from kinnari.evaluation.judging.figures import Figures
from kinnari.text.terminal import terminal

_SHARES = ("win", "tie", "loss")
_RATES = ("win_rate", "length_controlled_win_rate")


def print_figures(facts: Mapping[str, Any], groups: Mapping[str, Figures]) -> None:
    """A line for each language, then the reliability of the judge, then what it took."""
    console = terminal()
    title = f"{facts['second']} against {facts['first']}, judged by {facts['model']} ({facts['template']})"
    console.print(_outcomes(title, groups))
    console.print(_reliability(groups))
    if facts.get("requests"):
        estimate = " (tokens estimated from characters)" if facts["estimated_tokens_in_requests"] else ""
        console.print(
            f"{facts['requests']} replies, {facts['from_cache']} of them from the cache, {facts['failed_requests']} failed; "
            f"{facts['input_tokens']:,} tokens in, {facts['output_tokens']:,} out{estimate}; cost {facts['cost']:.4f}, "
            f"of this run {facts['cost_of_this_run']:.4f}"
        )
    if facts["missing"]:
        console.print(f"{facts['missing']} rows lack replies (missing.jsonl) and are not counted")


def print_people(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Any table of texts."""
    table = Table(title=title)
    for i, column in enumerate(header):
        table.add_column(column, justify="left" if i == 0 else "right")
    for row in rows:
        table.add_row(*row)
    terminal().print(table)


def _outcomes(title: str, groups: Mapping[str, Figures]) -> Table:
    scored = "score_n" in groups[""]
    table = Table(title=title, caption="per cent; in brackets 95 % bootstrap intervals; in the win rate ties count half")
    for column in ("", "n", *_SHARES, "win rate", "at equal length", "p", *(("scores", "ratio") if scored else ())):
        table.add_column(column, justify="right" if column else "left")
    for name, figures in groups.items():
        cells = [name or "all", str(figures["n"]), *(_per_cent(figures[key]) for key in _SHARES)]
        cells += [*(_with_interval(figures, key) for key in _RATES), _probability(figures["sign_test_p"])]
        if scored:
            cells += [f"{_number(figures.get('score_first'))} {_number(figures.get('score_second'))}", _number(figures.get("ratio"))]
        table.add_row(*cells)
    return table


def _reliability(groups: Mapping[str, Figures]) -> Table:
    human = "human_n" in groups[""]
    table = Table(title="How far to trust the judge")
    columns = ["", "unread replies", "rows not read", "orders agree", "same place wins twice", "first place wins"]
    for column in columns + (["with people", "kappa", "rows"] if human else []):
        table.add_column(column, justify="right" if column else "left")
    for name, figures in groups.items():
        cells = [name or "all", str(figures["unread_replies"]), str(figures["unread_rows"])]
        cells += [_per_cent(figures[key]) for key in ("consistency", "position_bias", "first_place_share")]
        if human:
            cells += [_per_cent(figures.get("human_agreement")), _number(figures.get("human_kappa")), str(figures.get("human_n", "-"))]
        table.add_row(*cells)
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _probability(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if value >= 0.001 else "<0.001"


def _per_cent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _with_interval(figures: Figures, key: str) -> str:
    value, low, high = (figures[f"{key}{end}"] for end in ("", "_low", "_high"))
    return "-" if value is None or low is None or high is None else f"{100 * value:.1f} [{100 * low:.0f}-{100 * high:.0f}]"
