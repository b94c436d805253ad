"""Alpaca with its broken rows mended or removed, columns as in Alpaca:

    {"instruction": "Give three tips for staying healthy.", "input": "", "output": "1. Eat a balanced diet ..."}

Source: yahma/alpaca-cleaned, 51,760 rows, English, CC-BY-NC-4.0 as Alpaca itself (its hub page says CC-BY-4.0).
"""

from __future__ import annotations

from dataclasses import dataclass

from datamodules.sources.alpaca import Alpaca


@dataclass(frozen=True, kw_only=True)
class AlpacaCleaned(Alpaca):
    """The cleaned rows, from the hub or a file."""

    name: str = "alpaca_cleaned"
