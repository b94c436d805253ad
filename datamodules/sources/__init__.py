"""One file per instruction source; each begins with an example record and declares licence and languages."""

from datamodules.sources.alpaca import Alpaca
from datamodules.sources.chatterbot import ChatterBot
from datamodules.sources.source import FileSource, Source

__all__ = ["Alpaca", "ChatterBot", "FileSource", "Source"]
