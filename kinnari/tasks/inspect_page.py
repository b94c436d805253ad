"""inspect.html: records as the model sees them, one self-contained page without scripts.

<span class="t" title="20961">sawasdee</span>      trained
<span class="u" title="4093">user</span>           not trained
<span class="t e" title="2">&lt;/s&gt;</span>      the EOS, trained
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from kinnari.tasks.token_pieces import Piece

_STYLE = """
:root { color-scheme: light dark; --trained: #0a7d32; --ground: #d9f5e0; --faint: #8a8a8a; --mark: #1668b8; --bad: #b3261e }
@media (prefers-color-scheme: dark) { :root { --trained: #7ee2a0; --ground: #12351f; --faint: #8f8f8f; --mark: #7ab8f5; --bad: #ff8a80 } }
body { font: 15px/1.6 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem }
h2 { font-size: 1rem; margin: 2rem 0 .3rem } .facts { color: var(--faint); font-weight: normal } .cut { color: var(--bad) }
.record { white-space: pre-wrap; overflow-wrap: anywhere; font-family: ui-monospace, monospace }
.record { border-left: 3px solid var(--faint); padding-left: .8rem }
.t { color: var(--trained); background: var(--ground) } .u { color: var(--faint) } .s { color: var(--mark) }
.e { font-weight: bold; outline: 1px solid } .odd { text-decoration: underline dotted }
table { border-collapse: collapse; margin: .3rem 0 1rem } th, td { border: 1px solid var(--faint); padding: .2rem .6rem; text-align: right }
th:first-child, td:first-child { text-align: left }
"""


@dataclass(frozen=True)
class Figures:
    """A table for terminal and page alike; every cell is text already."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class ShownRecord:
    """A record cut into pieces.

    Attributes:
        facts: source, language and counts in a few words.
        cut: it lost tokens to a limit.
        pieces: in order.
        first_ids: id of each piece's first token.
        trained: whether each piece is a training target.
        eos_id: the tokenizer's EOS.
    """

    record_id: str
    facts: str
    cut: bool
    pieces: Sequence[Piece]
    first_ids: Sequence[int]
    trained: Sequence[bool]
    eos_id: int


def page(title: str, records: Sequence[ShownRecord], figures: Sequence[Figures]) -> str:
    """The whole HTML document."""
    legend = '<p><span class="t">trained</span>, <span class="u">not trained</span>, <span class="s">special</span>, '
    legend += '<span class="t e">trained EOS</span>; underlining changes with each token, pointing at one shows its id</p>'
    body = "".join([f"<h1>{escape(title)}</h1>", legend, *map(_record, records), *map(_table, figures)])
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title><style>{_STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>{body}</body></html>\n'


def visible(text: str) -> str:
    """Control characters of the data as the symbols that stand for them, except the newline and the tab."""
    return "".join(chr(0x2400 + ord(c)) if ord(c) < 32 and c not in "\n\t" else c for c in text)


def _record(record: ShownRecord) -> str:
    cut = ' <span class="cut">cut at a limit</span>' if record.cut else ""
    heading = f'\n<h2>{escape(record.record_id)} <span class="facts">{escape(record.facts)}</span>{cut}</h2>\n'
    rows = zip(record.pieces, record.first_ids, record.trained, strict=True)
    spans = [_span(piece, token_id, trained, number, record.eos_id) for number, (piece, token_id, trained) in enumerate(rows)]
    return f'{heading}<div class="record">{"".join(spans)}</div>\n'


def _span(piece: Piece, token_id: int, trained: bool, number: int, eos_id: int) -> str:
    classes = ["t" if trained else "s" if piece.special else "u"]
    classes += ["e"] * (piece.special and token_id == eos_id) + ["odd"] * (number % 2)
    also = f" and {piece.count - 1} more" if piece.count > 1 else ""
    text = escape(visible(piece.text)).replace("\n", "↵\n")
    return f'<span class="{" ".join(classes)}" title="{token_id}{also}">{text}</span>'


def _table(figures: Figures) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in figures.columns)
    rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in figures.rows)
    return f"<h2>{escape(figures.title)}</h2><table><tr>{head}</tr>{rows}</table>\n"
