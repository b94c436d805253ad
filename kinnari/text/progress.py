"""A progress line for anything that takes over two seconds, and nothing for what does not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress

PATIENCE_S = 2.0
COUNT = "{task.completed:,}"


@contextmanager
def progress_line(what: str, total: int | None, show: bool = True) -> Iterator[Callable[[int], None]]:
    """Yields `advance(done)`; a bar on stderr appears once the work has taken PATIENCE_S seconds.

    With `total` None nobody knows how much there is: the bar moves, and the number done is shown.
    """
    began = time.monotonic()
    columns = Progress.get_default_columns() if total is not None else ("[progress.description]{task.description}", BarColumn(), COUNT)
    progress = Progress(*columns, console=Console(stderr=True), transient=True)
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
