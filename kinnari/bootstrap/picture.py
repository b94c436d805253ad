"""How a bootstrap went, as one SVG: kept and rejected by reason, lengths of the kept instructions, and how similar they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

import numpy as np

from kinnari.bootstrap.scripts import word_count

WIDTH, BAR, LABEL, CHART = 720, 22, 170, 150
KEPT, REJECTED, INK = "#2a7f62", "#b5563c", "#333333"


def summary_picture(kept: Sequence[Mapping[str, Any]], rejected: Sequence[Mapping[str, Any]]) -> str:
    """The text of an SVG file.

    Args:
        kept: rows of instructions.jsonl.
        rejected: rows of rejects.jsonl.
    """
    counts = [("kept", len(kept)), *Counter(str(row["reason"]) for row in rejected).most_common()]
    lengths = [word_count(row["instruction"]) for row in kept]
    nearest = [max(row["most_similar_instructions"].values(), default=0.0) for row in kept]
    parts, y = _bars(counts, 40)
    for title, values, edges in (
        ("words in a kept instruction", lengths, _whole_edges(lengths)),
        ("similarity of a kept instruction to its nearest", nearest, np.linspace(0, 1, 21)),
    ):
        parts += _histogram(title, values, edges, y + 40)
        y += CHART + 70
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + 20}" viewBox="0 0 {WIDTH} {y + 20}" '
        f'font-family="sans-serif" font-size="12" fill="{INK}">\n<rect width="100%" height="100%" fill="white"/>\n'
        + "\n".join([_text(10, 24, "candidates", 14), *parts])
        + "\n</svg>\n"
    )


def _whole_edges(lengths: Sequence[int]) -> np.ndarray:
    """Borders of 20 columns of whole numbers."""
    return np.arange(21) * -(-max([20, *lengths]) // 20)


def _bars(counts: Sequence[tuple[str, int]], top: int) -> tuple[list[str], int]:
    most = max(1, *(count for _, count in counts))
    parts = []
    for row, (name, count) in enumerate(counts):
        y, width = top + row * BAR, (WIDTH - LABEL - 80) * count / most
        parts += [
            _text(LABEL - 8, y + 14, name, anchor="end"),
            f'<rect x="{LABEL}" y="{y + 2}" width="{width:.1f}" height="{BAR - 6}" fill="{KEPT if row == 0 else REJECTED}"/>',
            _text(LABEL + width + 6, y + 14, f"{count:,}"),
        ]
    return parts, top + len(counts) * BAR


def _histogram(title: str, values: Sequence[float], edges: np.ndarray, top: int) -> list[str]:
    counts, _ = np.histogram(values, bins=edges)
    most, base, step = max(1, int(counts.max())), top + CHART, (WIDTH - 80) / len(counts)
    parts = [_text(10, top - 8, f"{title} (highest column: {counts.max():,})", 14)]
    for i, count in enumerate(counts):
        height = (CHART - 10) * count / most
        parts.append(f'<rect x="{40 + i * step:.1f}" y="{base - height:.1f}" width="{step - 2:.1f}" height="{height:.1f}" fill="{KEPT}"/>')
    for i in range(0, len(edges), 5):
        parts.append(_text(40 + i * step, base + 14, f"{edges[i]:g}", anchor="middle"))
    return [*parts, f'<line x1="40" y1="{base}" x2="{WIDTH - 40}" y2="{base}" stroke="{INK}"/>']


def _text(x: float, y: float, content: str, size: int = 12, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}">{escape(content)}</text>'
