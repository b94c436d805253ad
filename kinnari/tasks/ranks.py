"""Starts the ranks of one run, each with the same frozen config and a scrubbed environment, and ends them together.

A configuration is composed once, in the process the user started. The ranks read the resolved result from a file: they
cannot compose, or sample in a sweep, anything of their own.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Self

from kinnari.errors import ConfigError
from kinnari.strategies.ports import find_free_port

log = logging.getLogger(__name__)

# What an outer launcher or an earlier run may have left behind, and what would lead a rank astray.
RANK_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "NODE_RANK", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")
OUT_OF_MEMORY_EXIT = 77  # a rank of a sharded strategy ran out of memory: start again with smaller micro-batches
GRACE_S = 20.0  # for ranks whose peer died
SAVE_S = 600.0  # for ranks that were asked to save and stop
POLL_S = 0.2
LAST_LINES = 30


def is_first_rank() -> bool:
    """Whether this process is the first of those that an outer launcher started, or the only one; alone it needs no Lightning to know."""
    if "RANK" not in os.environ and "SLURM_PROCID" not in os.environ:
        return True
    from kinnari.strategies.parallel import cluster_environment

    return cluster_environment().global_rank() == 0


def run_ranks(config_file: Path, devices: int, num_nodes: int, cpu: bool) -> int:
    """Run all ranks of this node to their end.

    Args:
        config_file: the resolved config, read by every rank.
        devices: ranks on this node.
        num_nodes: nodes that run the same command; the address of the first comes from SLURM or from MASTER_ADDR.
        cpu: share the processor's cores among the ranks.

    Returns:
        0 if all ranks succeeded, else the exit code of the first that failed; 128 + signal for one that a signal ended.
    """
    node_rank, address, port = rendezvous(num_nodes)
    environment = {k: v for k, v in os.environ.items() if k not in RANK_VARIABLES}
    environment |= {"WORLD_SIZE": str(devices * num_nodes), "NODE_RANK": str(node_rank)}
    environment |= {"MASTER_ADDR": address, "MASTER_PORT": str(port), "KINNARI_PARENT": str(os.getpid())}
    if cpu and "OMP_NUM_THREADS" not in environment:
        environment["OMP_NUM_THREADS"] = str(max(1, len(os.sched_getaffinity(0)) // devices))
    logs = config_file.parent / "logs"
    logs.mkdir(exist_ok=True)
    processes = [_start(config_file, environment, node_rank * devices + i, i, logs) for i in range(devices)]
    try:
        with _SignalsToRanks(processes) as asked:
            return _watch(processes, asked, logs, node_rank * devices)
    finally:
        _end(processes, GRACE_S)


def rendezvous(num_nodes: int) -> tuple[int, str, int]:
    """(node rank, address of the first node, port).

    Raises:
        ConfigError: if there are several nodes and nothing says which one this is.
    """
    if num_nodes == 1:
        return 0, "127.0.0.1", find_free_port()
    if "SLURM_NODEID" in os.environ:
        hosts = subprocess.run(
            ["scontrol", "show", "hostnames", os.environ["SLURM_JOB_NODELIST"]], capture_output=True, text=True, check=True
        )
        # The same port on every node without talking: from the job's number, within the range SLURM sites leave open.
        return int(os.environ["SLURM_NODEID"]), hosts.stdout.split()[0], 15000 + int(os.environ["SLURM_JOB_ID"]) % 5000
    missing = [name for name in ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise ConfigError(
            f"hw.num_nodes={num_nodes}, but {', '.join(missing)} is not set. Start the command on every node with NODE_RANK=0.."
            f"{num_nodes - 1}, MASTER_ADDR (the first node) and MASTER_PORT, or through SLURM with hydra/launcher=submitit_slurm."
        )
    return int(os.environ["NODE_RANK"]), os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])


def _start(config_file: Path, environment: dict[str, str], rank: int, local_rank: int, logs: Path) -> subprocess.Popen[Any]:
    """Rank 0 speaks on the terminal; the others write to their own files."""
    command = [sys.executable, "-m", "kinnari.tasks.rank", str(config_file)]
    environment = environment | {"RANK": str(rank), "LOCAL_RANK": str(local_rank), "PYTHONUNBUFFERED": "1"}
    # The surface packages lie beside `kinnari` in a source tree, and the task's own folder may hold a user's package.
    environment["PYTHONPATH"] = os.pathsep.join([p for p in sys.path if p])
    if local_rank == 0:
        return subprocess.Popen(command, env=environment)
    with open(logs / f"rank_{rank}.log", "wb") as out:
        return subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT)


class _SignalsToRanks:
    """Within `with`, SIGTERM and SIGINT reach the ranks as SIGTERM: they save and stop."""

    def __init__(self, processes: list[subprocess.Popen[Any]]) -> None:
        self.processes = processes
        self.first: float | None = None  # when the first signal came, on the monotonic clock
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # Python sets handlers nowhere else
            self._before = {number: signal.signal(number, self._forward) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *problem: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _forward(self, number: int, frame: Any) -> None:
        self.first = self.first or time.monotonic()
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)


def _watch(processes: list[subprocess.Popen[Any]], asked: _SignalsToRanks, logs: Path, first_rank: int) -> int:
    while True:
        codes = {i: process.poll() for i, process in enumerate(processes)}
        failed = {i: code for i, code in codes.items() if code}
        if failed:
            _end(processes, GRACE_S)
            if asked.first is not None and set(failed.values()) <= {-signal.SIGTERM, -signal.SIGINT}:
                log.warning("stopped outside of training; checkpoint.resume=auto goes on from the last checkpoint, if there is one")
                return 128 + signal.SIGTERM
            index = min(failed, key=lambda i: (_cause_order(failed[i]), i))
            return _report(index, failed[index], first_rank, logs)
        if all(code == 0 for code in codes.values()):
            return 0
        if asked.first is not None and time.monotonic() > asked.first + SAVE_S:
            log.error("the ranks did not stop within %d s of being asked to, so they are ended", SAVE_S)
            _end(processes, 0.0)
        time.sleep(POLL_S)


def _cause_order(code: int) -> int:
    """Of several ranks that failed within one look: one that tells why comes before those that lost their peer."""
    if code == OUT_OF_MEMORY_EXIT:
        return 0
    return 1 if code < 0 or code == 2 else 2


def _report(index: int, code: int, first_rank: int, logs: Path) -> int:
    rank = first_rank + index
    how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
    log.error("rank %d %s; the other ranks were stopped", rank, how)
    own_log = logs / f"rank_{rank}.log"
    if index > 0 and own_log.is_file():
        tail = own_log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        log.error("the end of %s:\n%s", own_log, "\n".join(tail))
    return code if code > 0 else 128 - code


def _end(processes: list[subprocess.Popen[Any]], grace_s: float) -> None:
    """Ask what still runs to stop, then make it."""
    running = [process for process in processes if process.poll() is None]
    for process in running:
        process.terminate()
    deadline = time.monotonic() + grace_s
    for process in running:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
