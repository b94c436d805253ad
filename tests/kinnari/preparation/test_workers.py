"""A job over many items gives the same results in the same order with any number of processes."""

import os
import signal
import time

import pytest

from kinnari.preparation.workers import ROWS_PER_WORKER, ordered_map, worker_count


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_results_come_in_the_order_of_the_items(workers):
    def slow_first(i: int) -> int:
        time.sleep(0.02 if i == 0 else 0)
        return i * i

    assert list(ordered_map(slow_first, range(50), workers)) == [i * i for i in range(50)]


def test_the_job_needs_no_pickling():
    secret = {"lambda": lambda x: x + 1}
    assert list(ordered_map(lambda x: secret["lambda"](x), [1, 2, 3], 2)) == [2, 3, 4]


def test_only_a_few_items_are_taken_ahead_of_the_results():
    taken = []

    def items():
        for i in range(100):
            taken.append(i)
            yield i

    results = ordered_map(lambda i: i, items(), 2)
    next(results)
    assert len(taken) <= 7
    results.close()


def test_an_error_in_a_process_arrives_here():
    def fail(i: int) -> int:
        raise ValueError(f"item {i}")

    with pytest.raises(ValueError, match="item 0"):
        list(ordered_map(fail, range(3), 2))


def test_a_killed_process_is_an_error_and_not_a_wait_for_ever():
    with pytest.raises(RuntimeError, match=r"was killed.*preparation.workers=1"):
        list(ordered_map(lambda i: os.kill(os.getpid(), signal.SIGKILL), range(3), 2))


def test_auto_starts_no_process_for_few_rows_and_never_more_than_cores():
    cores = len(os.sched_getaffinity(0))
    assert worker_count("auto", 800) == 1
    assert worker_count("auto", ROWS_PER_WORKER * 1000) == cores
    assert worker_count(3, 10) == 3
