"""A progress line for anything that takes over two seconds, and nothing for what does not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress

PATIENCE_S = 2.0


@contextmanager
def progress_line(what: str, total: int, show: bool = True) -> Iterator[Callable[[int], None]]:
    """Yields `advance(done)`; a bar on stderr appears once the work has taken PATIENCE_S seconds."""
    began = time.monotonic()
    progress = Progress(console=Console(stderr=True), transient=True)
    task = progress.add_task(what, total=total)
    started = False

    def advance(done: int) -> None:
        nonlocal started
        progress.update(task, completed=done)
        if show and not started and time.monotonic() - began > PATIENCE_S:
            progress.start()
            started = True

    try:
        yield advance
    finally:
        if started:
            progress.stop()
