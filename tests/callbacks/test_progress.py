"""Progress: plain lines without a terminal, a bar on one, silence on other ranks."""

from __future__ import annotations

import io
import re

import pytest
import pytorch_lightning as pl
from rich.console import Console

from callbacks import Progress
from tests.callbacks.conftest import Fit


def plain() -> Console:
    return Console(file=io.StringIO(), force_terminal=False)


def test_without_a_terminal_there_are_plain_lines(fit: Fit) -> None:
    console = plain()
    fit(Progress(every_s=0.0, console=console))
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 4
    for number, line in enumerate(lines, start=1):
        assert re.fullmatch(rf"step {number}/4, loss \d+\.\d{{4}}, [\d,]+ trained tokens/s, \d:\d\d:\d\d left", line)
    assert lines[-1].endswith("0:00:00 left")


def test_lines_are_rare_and_the_last_step_is_always_told(fit: Fit) -> None:
    console = plain()
    fit(Progress(every_s=3600.0, console=console))
    assert [line.split(",")[0] for line in console.file.getvalue().splitlines()] == ["step 4/4"]


def test_on_a_terminal_there_is_a_bar_and_it_is_closed(fit: Fit) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    progress = Progress(console=console)
    fit(progress)
    assert "4/4" in console.file.getvalue()
    assert progress._bar is None


def test_the_bar_is_closed_when_training_fails(fit: Fit) -> None:
    class Fails(pl.Callback):
        def on_train_batch_end(self, *arguments: object) -> None:
            raise RuntimeError("broken")

    progress = Progress(console=Console(file=io.StringIO(), force_terminal=True))
    with pytest.raises(RuntimeError, match="broken"):
        fit(progress, Fails())
    assert progress._bar is None


@pytest.mark.parametrize("terminal", [False, True])
def test_other_ranks_are_silent(fit: Fit, terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pl.Trainer, "is_global_zero", property(lambda self: False))
    console = Console(file=io.StringIO(), force_terminal=terminal)
    fit(Progress(every_s=0.0, console=console), val_check_interval=None, limit_val_batches=0)
    assert console.file.getvalue() == ""
