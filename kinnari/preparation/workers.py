"""A job over many items in worker processes, its results in the order of the items: the same whatever the number of workers."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")

ROWS_PER_WORKER = 4000  # fewer do not repay the start of a process
AHEAD = 3  # items per worker that are being worked on or wait to be collected: what bounds the memory

log = logging.getLogger(__name__)
_job: Callable[[Any], Any]


def worker_count(workers: int | str, rows: int) -> int:
    """Processes for `rows` rows: `auto` is one per core of this process, but no more than the rows are worth; 1 is this process alone."""
    if sys.platform == "win32":  # no fork there, and a job cannot be sent to a process that does not share our memory
        return 1
    if workers != "auto":
        return int(workers)
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, min(cores, rows // ROWS_PER_WORKER))


def ordered_map(job: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """`job(item)` for each item, in order, computed by `workers` forked processes (1: in this one).

    The processes inherit `job` with all it refers to (a tokenizer, memory-mapped tables), so only items and results are sent.

    Raises:
        RuntimeError: if a worker process was killed, usually for want of memory.
    """
    if workers <= 1:
        yield from map(job, items)
        return
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("fork"), initializer=_begin, initargs=(job, os.getpid()))
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(_run, item))
            if len(waiting) >= AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise RuntimeError(
            f"One of {workers} worker processes of the data preparation was killed, most likely because memory ran out. "
            "Use fewer with preparation.workers=1."
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin(job: Callable[[Any], Any], parent: int) -> None:
    """In the new process: take the job, leave interrupts to the parent, end with it."""
    global _job
    _job = job
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(70)

    threading.Thread(target=watch, daemon=True).start()


def _run(item: Any) -> Any:
    return _job(item)
