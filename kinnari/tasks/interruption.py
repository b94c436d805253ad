"""SIGTERM and SIGINT as a wish that the training loop grants at the end of its step, when a checkpoint is whole."""

from __future__ import annotations

import logging
import signal
import threading
from types import FrameType
from typing import Any, Self

import pytorch_lightning as pl

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Within `with request:` the first signal only sets `made`; a second Ctrl-C raises KeyboardInterrupt as usual.

    Attributes:
        made: whether somebody asked for the end.
    """

    def __init__(self) -> None:
        self.made = False
        self._by_keyboard = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # Python sets handlers nowhere else
            self._before = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        return self

    def __exit__(self, *problem: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # One Ctrl-C reaches a rank twice, from the terminal and as SIGTERM from its launcher: only SIGINT is counted.
        if number == signal.SIGINT and self._by_keyboard:
            raise KeyboardInterrupt
        self._by_keyboard |= number == signal.SIGINT
        self.made = True


def leave_signals_to_us(trainer: pl.Trainer) -> pl.Trainer:
    """Keep Lightning from handling SIGTERM.

    Its handler (2.6.6) starts a collective wherever the rank happens to be, which the other ranks do not join, and then ends
    the run by an exception without saving.
    """
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    return trainer
