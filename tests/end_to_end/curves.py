"""Loss curves of whole training runs, made in this process from command-line overrides."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence

import torch.distributed as dist

from kinnari.tasks.compose import compose
from kinnari.tasks.rules import check
from kinnari.tasks.sft import sft

BASE = (
    "model=tiny_causal",
    "callbacks=none",
    "logger=none",
    "trainer.precision=32-true",
    "task.samples=0",
    "task.export_merged=false",
    "held_out.most=0",
    "data.chatterbot.limit=48",
    "batch.global_size=8",
    "optimizer.lr=3e-3",
    "trainer.max_epochs=2",
    "trainer.max_steps=8",
)


def curve(overrides: Sequence[str]) -> list[float]:
    """Loss at every optimizer step of a run; on several ranks all of them call it with the same overrides."""
    with tempfile.TemporaryDirectory() as folder:
        shared = [folder]
        if dist.is_initialized():
            dist.broadcast_object_list(shared)
        cfg = compose([*BASE, *overrides, f"output_dir={shared[0]}"])
        check(cfg)
        result = sft(cfg)
        if dist.is_initialized():
            dist.barrier()
    return result["loss_curve"]


def curves(runs: Sequence[Sequence[str]]) -> list[list[float]]:
    """Several runs one after another in the same processes: what `tests.distributed.run_ranks` calls."""
    return [curve(overrides) for overrides in runs]
