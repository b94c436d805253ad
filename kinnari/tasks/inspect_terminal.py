"""Records and tables of task=inspect in the terminal."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from kinnari.tasks.inspect_page import Figures, ShownRecord, visible
from kinnari.tasks.token_pieces import Piece

_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def legend() -> Text:
    """What the colours mean."""
    text = Text("« trained »", style="bold green").append(" and untrained tokens", style="not bold dim")
    text.append("; ").append("special", style="cyan").append("; ").append("EOS that is trained", style="reverse bold green")
    return text.append("; underlining changes with each token; ₃: three tokens are one character\n")


def heading(record: ShownRecord) -> Text:
    """Name and facts of a record."""
    text = Text(f"{record.record_id}  ({record.facts})", style="bold")
    return text.append("  CUT at a limit", style="bold red") if record.cut else text


def as_text(record: ShownRecord) -> Text:
    """A record in colours, trained stretches between « and »."""
    text, inside = Text(), False
    rows = zip(record.pieces, record.first_ids, record.trained, strict=True)
    for number, (piece, token_id, trained) in enumerate(rows):
        if trained != inside:
            text.append("«" if trained else "»", style="bold yellow")
            inside = trained
        is_eos = piece.special and token_id == record.eos_id
        text.append(_shown(piece, is_eos), style=_style(piece, trained, is_eos) + (" underline" if number % 2 else ""))
    return text.append("»", style="bold yellow") if inside else text


def as_table(figures: Figures) -> Table:
    """A table with numbers on the right."""
    table = Table(title=figures.title)
    for number, column in enumerate(figures.columns):
        table.add_column(column, justify="right" if number else "left", overflow="fold")
    for row in figures.rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _shown(piece: Piece, is_eos: bool) -> str:
    if is_eos:
        return f"[{piece.text} EOS]"
    return visible(piece.text).replace("\n", "↵\n") + (str(piece.count).translate(_SUBSCRIPTS) if piece.count > 1 else "")


def _style(piece: Piece, trained: bool, is_eos: bool) -> str:
    if is_eos:
        return "reverse bold green" if trained else "reverse dim"
    return "bold green" if trained else "cyan" if piece.special else "dim"
