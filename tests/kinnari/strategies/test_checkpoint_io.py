"""A checkpoint file is whole or absent, and a damaged one is found out."""

from __future__ import annotations

import logging
import os
import resource
import signal
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kinnari.strategies.checkpoint_io import (
    AtomicCheckpointIO,
    CheckpointWriteError,
    checkpoint_step,
    is_intact,
    latest_intact,
)
from tests.distributed import run_ranks

STATE = {"state_dict": {"w": torch.arange(1000.0)}, "global_step": 4}


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "step=00000004.ckpt"
    AtomicCheckpointIO().save_checkpoint(STATE, path)
    loaded = AtomicCheckpointIO().load_checkpoint(path)
    assert torch.equal(loaded["state_dict"]["w"], STATE["state_dict"]["w"])
    assert loaded["global_step"] == 4
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_loaded_checkpoint_survives_the_next_save_to_its_name(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(STATE, path)
    loaded = AtomicCheckpointIO().load_checkpoint(path)  # memory-mapped
    AtomicCheckpointIO().save_checkpoint({"state_dict": {"w": torch.zeros(1000)}}, path)
    assert torch.equal(loaded["state_dict"]["w"], torch.arange(1000.0))


def test_pickled_code_is_not_loaded(tmp_path: Path) -> None:
    torch.save({"state_dict": Path("/")}, tmp_path / "evil.ckpt")
    with pytest.raises(Exception, match=r"[Ww]eights"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "evil.ckpt")


def test_a_failing_save_keeps_the_file_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(STATE, path)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointWriteError, match=r"No space left on device.*previous file of that name is intact"):
        AtomicCheckpointIO().save_checkpoint({"global_step": 5}, path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.ckpt"]


def _save_beyond_a_size_limit(folder: str) -> tuple[str, list[str]]:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
    message = "saved"
    try:
        AtomicCheckpointIO().save_checkpoint({"w": torch.zeros(100_000)}, f"{folder}/step=00000001.ckpt")
    except CheckpointWriteError as error:
        message = str(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
    return message, os.listdir(folder)


@pytest.mark.slow
def test_a_disk_that_takes_no_more_leaves_no_file(tmp_path: Path) -> None:
    message, left = run_ranks(_save_beyond_a_size_limit, 1, str(tmp_path), timeout_s=60)[0]
    assert "was not written" in message and "no file of that name was there before" in message
    assert left == []


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_a_truncated_file_is_never_intact(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "whole.ckpt"
    AtomicCheckpointIO().save_checkpoint(STATE, path)
    assert is_intact(path)
    whole = path.read_bytes()
    torn = tmp_path / "torn.ckpt"
    torn.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    assert not is_intact(torn)


def test_a_flipped_bit_in_a_tensor_is_found(tmp_path: Path) -> None:
    path = tmp_path / "step=00000001.ckpt"
    AtomicCheckpointIO().save_checkpoint(STATE, path)
    content = bytearray(path.read_bytes())
    position = content.find(torch.tensor([500.0, 501.0]).numpy().tobytes())
    content[position] ^= 1
    path.write_bytes(content)
    assert not is_intact(path)


def test_an_absent_file_is_not_intact(tmp_path: Path) -> None:
    assert not is_intact(tmp_path / "none.ckpt")
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "none.ckpt")


def test_the_newest_intact_file_is_chosen_by_step(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for step in (2, 100, 11):
        AtomicCheckpointIO().save_checkpoint(STATE, tmp_path / f"step={step:08d}.ckpt")
    (tmp_path / "step=00000200.ckpt").write_bytes(b"PK\x03\x04 torn")
    (tmp_path / "last.ckpt").write_bytes(b"no step in the name")
    with caplog.at_level(logging.WARNING):
        assert latest_intact(tmp_path) == tmp_path / "step=00000100.ckpt"
    assert "step=00000200.ckpt is torn" in caplog.text
    assert latest_intact(tmp_path / "empty") is None


def test_the_step_is_read_from_the_end_of_the_name() -> None:
    assert checkpoint_step("run/epoch=0-step=00000012.ckpt") == 12
    assert checkpoint_step("run/last.ckpt") is None
