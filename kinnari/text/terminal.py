"""A console that prints texts as they are: no [/INST] is taken for markup, no :fire: for a picture."""

from __future__ import annotations

from rich.console import Console


def terminal() -> Console:
    """A console on stdout, as wide as the terminal."""
    return Console(markup=False, emoji=False)
