"""A histogram as a picture: SVG text, which browsers and GitHub show and no package is needed to write."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 720, 260, 64, 40, 30
INK, BAR, GRID = "#333333", "#4c78a8", "#dddddd"


def histogram_svg(bins: Sequence[tuple[int, int, int]], title: str, unit: str) -> str:
    """Bars of equal width for bins (from, up to and without, count), the lower bounds below, counts above the bars.

    Args:
        unit: what the bounds are counted in.
    """
    most = max((count for *_, count in bins), default=1) or 1
    step = (WIDTH - LEFT - 10) / max(1, len(bins))
    height = HEIGHT - BOTTOM - TOP
    parts = [f'<text x="{LEFT}" y="18" font-size="14" font-weight="bold">{escape(title)}</text>']
    for share in (0.0, 0.5, 1.0):
        y = TOP + height * (1 - share)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - 10}" y1="{y:.1f}" y2="{y:.1f}" stroke="{GRID}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{round(most * share):,}</text>')
    for i, (low, high, count) in enumerate(bins):
        x, tall = LEFT + i * step, height * count / most
        y = TOP + height - tall
        tip = f"{low:,} to {high - 1:,} {unit}: {count:,}"
        parts.append(
            f'<rect x="{x + 1:.1f}" y="{y:.1f}" width="{max(1.0, step - 2):.1f}" height="{tall:.1f}" fill="{BAR}">'
            f"<title>{escape(tip)}</title></rect>"
        )
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}">{low:,}</text>')
    parts.append(f'<text x="{WIDTH - 10}" y="{HEIGHT - 6}" text-anchor="end">{escape(unit)}</text>')
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="11" '
        f'fill="{INK}">\n<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )
