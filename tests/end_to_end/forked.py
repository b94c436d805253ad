"""Whole runs of `launch.py` without the seconds that importing takes: forked from a server that has imported everything.

The command line, Hydra, exit statuses, signals, processes and files are those of a real run; `prepare` may patch the process
before it begins, for faults that cannot be had otherwise. Ranks are forked by the launcher in place of `subprocess.Popen` with
the command, environment and output that it was given; `tests/end_to_end/test_interruptions.py` also starts a real tree once.
"""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch

from kinnari.tasks.latest_checkpoints import checkpoint_name

IMPORTED = (
    "launch",
    "callbacks",
    "datamodules.sources",
    "lightning_modules",
    "kinnari.tasks.rank",
    "kinnari.tasks.sft",
    "transformers.models.llama.modeling_llama",
    "tests.end_to_end.forked",
)
QUICK = (
    "model=tiny_causal",
    "callbacks=none",
    "logger=none",
    "data=alpaca",
    "trainer.precision=32-true",
    "batch.global_size=4",
    "batch.micro_size=2",
    "held_out.fraction=0.2",
    "task.samples=0",
    "task.export_merged=false",
)
ROOT = Path(__file__).resolve().parents[2]


def write_rows(path: Path, count: int = 25) -> Path:
    """Alpaca rows of different lengths, each question once."""
    rows = [{"instruction": f"Say {i} in words.", "output": f"{i} " * (1 + i % 7)} for i in range(count)]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return path


@dataclass
class Run:
    """A run that was started: its process (leader of its own process group), folder and terminal output."""

    process: BaseProcess
    folder: Path
    output: Path

    def wait(self, timeout_s: float = 90.0) -> int:
        """The exit status, negative for a signal; whatever still runs after `timeout_s` is killed and the test fails."""
        self.process.join(timeout_s)
        if self.process.exitcode is None:
            self.kill()
            raise TimeoutError(f"no end after {timeout_s} s:\n{self.text()}")
        return self.process.exitcode

    def kill(self) -> None:
        """SIGKILL to the launcher and all its ranks at once."""
        assert self.process.pid is not None
        kill_group(self.process.pid)
        self.process.join()
        self.gone(10.0)

    def gone(self, within_s: float) -> float:
        """Wait until no process of the run is left; seconds it took."""
        began = time.monotonic()
        while self.members():
            assert time.monotonic() < began + within_s, f"still running after {within_s} s: {self.members()}\n{self.text()}"
            time.sleep(0.05)
        return time.monotonic() - began

    def signal(self, number: int) -> None:
        """A signal to the launcher alone."""
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def ranks(self) -> list[int]:
        """Process ids of the ranks, in their order: they are started one after the other."""
        found = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True)
        rows = [line.split() for line in found.stdout.splitlines()]
        return sorted(int(pid) for pid, parent in rows if int(parent) == self.process.pid)

    def ended(self) -> bool:
        return self.process.exitcode is not None

    def members(self) -> list[int]:
        """Processes of the group that still run; zombies do not."""
        found = subprocess.run(["ps", "-e", "-o", "pid=,pgid=,stat="], capture_output=True, text=True, check=True)
        rows = [line.split() for line in found.stdout.splitlines()]
        return [int(pid) for pid, group, state in rows if int(group) == self.process.pid and not state.startswith("Z")]

    def text(self) -> str:
        return self.output.read_text(errors="replace")

    def result(self) -> dict[str, Any]:
        return json.loads((self.folder / "result.json").read_text())

    def steps_saved(self) -> list[int]:
        """Steps of the complete checkpoints, in order."""
        return sorted(int(p.stem.partition("_")[2]) for p in (self.folder / "checkpoints").glob("*.ckpt"))

    def checkpoint(self, step: int) -> dict[str, Any]:
        return torch.load(self.folder / "checkpoints" / checkpoint_name(step), weights_only=True)

    def until(self, condition: Callable[[Run], bool], timeout_s: float = 300.0) -> Run:
        """Wait until `condition(self)`, looking every millisecond; fails when the run ends first."""
        deadline = time.monotonic() + timeout_s
        while not condition(self):
            if self.ended() or time.monotonic() > deadline:
                raise AssertionError(f"the condition never held; exit status {self.process.exitcode}:\n{self.text()}")
            time.sleep(0.001)
        return self


def start(
    folder: Path,
    *overrides: str,
    prepare: Callable[..., None] | None = None,
    arguments: Sequence[Any] = (),
    name: str = "run",
    first: Sequence[str] = QUICK,
) -> Run:
    """`python launch.py <first> output_dir=<folder> <overrides>`, after `prepare(*arguments)` in its process.

    `prepare` must be importable; what it patches, forked ranks inherit.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    output = folder.parent / f"{folder.name}.{name}.txt"
    argv = ["launch.py", *first, f"output_dir={folder}", *overrides]
    process = _server().Process(target=_launch, args=(argv, output, prepare, tuple(arguments)))
    process.start()
    while process.exitcode is None and os.getpgid(process.pid) != process.pid:  # it first makes itself a group
        time.sleep(0.001)
    return Run(process, folder, output)


def finish(folder: Path, *overrides: str, status: int = 0, **options: Any) -> Run:
    """`start`, and wait for the end with the expected exit status."""
    run = start(folder, *overrides, **options)
    found = run.wait()
    assert found == status, f"exit status {found} instead of {status}:\n{run.text()}"
    return run


@functools.cache
def _server() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(IMPORTED))
    # The server keeps the environment it starts in: a fork is safe only while no thread of a computation exists.
    with mock.patch.dict(os.environ, OMP_NUM_THREADS="1"):
        forkserver.ensure_running()
    return context


def _launch(argv: list[str], output: Path, prepare: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    os.setsid()
    _redirect(output)
    os.chdir(ROOT)
    import launch
    from kinnari.tasks import ranks

    # In that module alone: DeepSpeed and others start programs of their own.
    ranks.subprocess = SimpleNamespace(  # type: ignore[assignment]
        Popen=ForkedRank, STDOUT=subprocess.STDOUT, TimeoutExpired=subprocess.TimeoutExpired
    )
    sys.argv = argv
    if prepare is not None:
        prepare(*arguments)
    _as_a_program(launch.main)


def _as_a_program(main: Callable[[], Any]) -> None:
    """Call `main` and end the process as Python would."""
    status = 0
    try:
        main()
    except SystemExit as ending:
        status = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _redirect(output: Path) -> None:
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115 open to the end of the process
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115


class ForkedRank:
    """What `kinnari.tasks.ranks` uses of `subprocess.Popen`, by fork."""

    def __init__(self, command: list[str], env: dict[str, str], stdout: Any = None, stderr: Any = None) -> None:
        self.returncode: int | None = None
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid:
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler)
        os.environ.clear()
        os.environ.update(env)
        if stdout is not None:
            os.dup2(stdout.fileno(), 1)
            os.dup2(1, 2)
        from kinnari.tasks import rank

        sys.argv = command[2:]
        _as_a_program(rank.main)

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("rank", timeout or 0.0)
            time.sleep(0.01)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def kill_group(leader: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def same(a: Any, b: Any) -> bool:
    """Equal to the last bit, through dicts and lists."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return isinstance(b, list | tuple) and len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)
