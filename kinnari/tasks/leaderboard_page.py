"""leaderboard.html: tables, bars with their intervals, and the questions on which two models differ; one page without scripts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from kinnari.evaluation.comparison import Comparison, Row, said
from kinnari.tasks.inspect_page import Figures, visible
from kinnari.tasks.leaderboard_runs import Judged, Scored
from kinnari.tasks.leaderboard_tables import per_cent

_STYLE = """
:root { color-scheme: light dark; --faint: #8a8a8a; --bar: #7fb2e5; --mark: #b3261e; --ground: #f2f5f8 }
@media (prefers-color-scheme: dark) { :root { --faint: #8f8f8f; --bar: #3a6ea5; --mark: #ff8a80; --ground: #1c2126 } }
body { font: 15px/1.6 system-ui, sans-serif; max-width: 80rem; margin: 2rem auto; padding: 0 1rem }
h2 { font-size: 1rem; margin: 2rem 0 .3rem } .facts, figcaption { color: var(--faint) } figure { margin: 0 0 1.5rem }
table { border-collapse: collapse; margin: .3rem 0 1rem } th, td { border: 1px solid var(--faint); padding: .2rem .6rem; text-align: right }
th:first-child, td:first-child { text-align: left } .wide { overflow-x: auto }
.questions { width: 100%; table-layout: fixed } .questions td, .questions th { text-align: left; vertical-align: top }
.questions td { white-space: pre-wrap; overflow-wrap: anywhere } .questions td:nth-child(2), .questions th:nth-child(2) { width: 45% }
svg text { fill: currentColor; font: 13px system-ui, sans-serif } rect { fill: var(--bar) } .ground { fill: var(--ground) }
line { stroke: currentColor; stroke-width: 1.5 } .majority { stroke: var(--mark); stroke-dasharray: 4 3 } summary { cursor: pointer }
"""
_LEFT, _WIDTH, _ROW, _LONGEST = 300, 420, 26, 42


@dataclass(frozen=True)
class Difference:
    """Two models on one benchmark, and how many of the questions on which they differ the page shows of each side."""

    found: Comparison
    first: Scored
    second: Scored
    shown: int


def page(tables: Sequence[Figures], scored: Sequence[Scored], judged: Sequence[Judged], differences: Sequence[Difference]) -> str:
    """The whole HTML document."""
    pictures = [*(_picture(name, _bars(scored, name)) for name in dict.fromkeys(one.benchmark for one in scored)), *_win_rates(judged)]
    models = len({one.name for one in scored})
    lead = f"<p>{models} models, {len({one.benchmark for one in scored})} benchmarks, {len(judged)} comparisons by a judge. A line over a "
    lead += "bar is its 95 % bootstrap interval; the dashed one is what always the most frequent class, or a choice at random, reaches.</p>"
    body = "".join(["<h1>Leaderboard</h1>", lead, _table(tables[0]), *pictures, *map(_table, tables[1:]), *map(_questions, differences)])
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Leaderboard</title><style>{_STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>{body}</body></html>\n'


@dataclass(frozen=True)
class Bar:
    """Shares in [0, 1]; None where there is none."""

    name: str
    value: float
    low: float | None
    high: float | None
    majority: float | None


def _bars(scored: Sequence[Scored], benchmark: str) -> list[Bar]:
    return [
        Bar(one.name, value, one.numbers.get("ci_low"), one.numbers.get("ci_high"), one.numbers.get("majority"))
        for one in scored
        if one.benchmark == benchmark and (value := one.numbers.get(one.metric)) is not None
    ]


def _win_rates(judged: Sequence[Judged]) -> list[str]:
    bars = [
        Bar(one.name, value, one.result["judge/win_rate_low"], one.result["judge/win_rate_high"], 0.5)
        for one in judged
        if (value := one.result["judge/win_rate"]) is not None
    ]
    return [_picture("win rate of the second answers", bars)] if bars else []


def _picture(title: str, bars: Sequence[Bar]) -> str:
    """Horizontal bars from 0 to 100 %."""
    if not bars:
        return ""
    height = _ROW * len(bars) + 22
    parts = [part for i, bar in enumerate(bars) for part in _bar(bar, _ROW * i)]
    parts += [f'<text x="{_at(share)}" y="{height - 6}" text-anchor="middle">{share:.0%}</text>' for share in (0, 0.25, 0.5, 0.75, 1)]
    label = "; ".join(f"{bar.name} {per_cent(bar.value)} %" for bar in bars)
    size = f'width="{_LEFT + _WIDTH + 80}" height="{height}"'
    svg = f'<svg role="img" aria-label="{escape(f"{title}: {label}")}" {size}>{"".join(parts)}</svg>'
    return f'<figure class="wide"><figcaption>{escape(title)}</figcaption>{svg}</figure>\n'


def _bar(bar: Bar, top: int) -> Iterator[str]:
    middle = top + _ROW / 2
    name = bar.name if len(bar.name) <= _LONGEST else "…" + bar.name[1 - _LONGEST :]
    yield f'<text x="{_LEFT - 8}" y="{middle + 4:g}" text-anchor="end">{escape(name)}</text>'
    yield f'<rect class="ground" x="{_LEFT}" y="{top + 4}" width="{_WIDTH}" height="{_ROW - 8}"/>'
    yield f'<rect x="{_LEFT}" y="{top + 4}" width="{bar.value * _WIDTH:.1f}" height="{_ROW - 8}"/>'
    if bar.low is not None and bar.high is not None:
        yield f'<line x1="{_at(bar.low)}" y1="{middle:g}" x2="{_at(bar.high)}" y2="{middle:g}"/>'
        for end in (bar.low, bar.high):
            yield f'<line x1="{_at(end)}" y1="{middle - 5:g}" x2="{_at(end)}" y2="{middle + 5:g}"/>'
    if bar.majority is not None:
        yield f'<line class="majority" x1="{_at(bar.majority)}" y1="{top}" x2="{_at(bar.majority)}" y2="{top + _ROW}"/>'
    yield f'<text x="{_LEFT + _WIDTH + 8}" y="{middle + 4:g}">{per_cent(bar.value)}</text>'


def _at(share: float) -> str:
    return f"{_LEFT + share * _WIDTH:.1f}"


def _table(figures: Figures) -> str:
    if not figures.rows:
        return ""
    head = "".join(f"<th>{escape(column)}</th>" for column in figures.columns)
    rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in figures.rows)
    return f'<h2>{escape(figures.title)}</h2><div class="wide"><table><tr>{head}</tr>{rows}</table></div>\n'


def _questions(difference: Difference) -> str:
    """The first questions of each kind, folded away."""
    found = difference.found
    one, other = ({str(row["id"]): row for row in side.rows} for side in (difference.first, difference.second))
    ids = [*found.better[: difference.shown], *found.worse[: difference.shown]]
    if not ids:
        return ""
    rows = "".join(_question(one[name], other[name]) for name in ids)
    title = f"{found.benchmark}: {len(found.better) + len(found.worse)} questions on which {found.first} and {found.second} differ"
    shown = f" ({len(ids)} shown)" if len(ids) < len(found.better) + len(found.worse) else ""
    head = "".join(f"<th>{escape(text)}</th>" for text in ("question", "prompt", "right", found.first, found.second))
    return f'<details><summary>{escape(title + shown)}</summary><table class="questions"><tr>{head}</tr>{rows}</table></details>\n'


def _question(one: Row, other: Row) -> str:
    cells = [str(one["id"]), str(one["prompt"]), said(one, one["gold"]), said(one, one["prediction"]), said(other, other["prediction"])]
    return "<tr>" + "".join(f"<td>{escape(visible(cell))}</td>" for cell in cells) + "</tr>"
