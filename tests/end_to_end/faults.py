"""Faults to put into a forked run: `start(..., prepare=nan_loss, arguments=(...))`."""

from __future__ import annotations

import os
import resource
import signal
import time
from typing import Any

import torch

from lightning_modules import CausalLMSFT


def slow_disk(seconds: float) -> None:
    """Every flush of a file takes this long, so a checkpoint is half written for most of a step."""
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        time.sleep(seconds)
        sync(descriptor)

    os.fsync = fsync


def attention_dropout(probability: float) -> None:
    """Full tuning has no dropout of its own, and the toy's config has none either."""
    from transformers import LlamaConfig

    original = LlamaConfig.__init__

    def init(self: LlamaConfig, *arguments: Any, **settings: Any) -> None:
        original(self, *arguments, **settings | {"attention_dropout": probability})

    LlamaConfig.__init__ = init  # type: ignore[method-assign]


def slow_disk_and_dropout(seconds: float) -> None:
    slow_disk(seconds)
    attention_dropout(0.05)


def slow_steps(seconds: float) -> None:
    """Every optimizer step takes at least this long."""
    step = CausalLMSFT.training_step

    def training_step(self: CausalLMSFT, batches: Any, index: int) -> None:
        time.sleep(seconds)
        step(self, batches, index)

    CausalLMSFT.training_step = training_step  # type: ignore[method-assign]


def out_of_memory(first_step: int, most_rows: int, rank: int) -> None:
    """From `first_step` (0-based) on, a training forward of more than `most_rows` rows does not fit on `rank`."""
    forward = CausalLMSFT.forward

    def limited(self: CausalLMSFT, batch: Any) -> torch.Tensor:
        at_fault = self.training and self.trainer.global_rank == rank and self.trainer.global_step >= first_step
        if at_fault and batch["input_ids"].shape[0] > most_rows:
            raise torch.OutOfMemoryError(f"no room for {batch['input_ids'].shape[0]} rows")
        return forward(self, batch)

    CausalLMSFT.forward = limited  # type: ignore[method-assign]


def nan_loss(first_step: int, last_step: int, rank: int) -> None:
    """In steps `first_step` to `last_step` (0-based) the loss of `rank` is not a number, nor are its gradients."""
    forward = CausalLMSFT.forward

    def spoilt(self: CausalLMSFT, batch: Any) -> torch.Tensor:
        totals = forward(self, batch)
        at_fault = self.training and self.trainer.global_rank == rank
        if at_fault and first_step <= self.trainer.global_step <= last_step:
            return totals * totals.new_tensor([float("nan"), 1.0])
        return totals

    CausalLMSFT.forward = spoilt  # type: ignore[method-assign]


def nan_gradient(step: int) -> None:
    """In this step (0-based) the loss is finite and its gradient is not."""
    forward = CausalLMSFT.forward

    def spoilt(self: CausalLMSFT, batch: Any) -> torch.Tensor:
        totals = forward(self, batch)
        if self.training and self.trainer.global_step == step:
            totals.register_hook(lambda gradient: gradient * float("nan"))
        return totals

    CausalLMSFT.forward = spoilt  # type: ignore[method-assign]


def disk_full(step: int, most_bytes: int) -> None:
    """From this step (0-based) on no file can grow beyond `most_bytes`."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write then fails with an error
    training_step = CausalLMSFT.training_step

    def limited(self: CausalLMSFT, batches: Any, index: int) -> None:
        if self.trainer.global_step == step:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, resource.RLIM_INFINITY))
        training_step(self, batches, index)

    CausalLMSFT.training_step = limited  # type: ignore[method-assign]


def killed(moment: str, number: int) -> None:
    """SIGKILL to this process at the `number`-th time (from 1) of a moment of preference learning.

    Moments: answering (a batch of rollouts is there), measuring (before their log-probabilities), learning (before an optimizer step),
    writing (a checkpoint is half written), asking (the reference has told of some pairs).
    """
    import kinnari.strategies.fine_tuning as fine_tuning
    import lightning_modules.dpo as dpo
    from lightning_modules.ppo import PPOModule

    places: dict[str, tuple[Any, str]] = {
        "answering": (PPOModule, "answered"), "measuring": (PPOModule, "_measure"), "learning": (fine_tuning.FineTuning, "step"),
        "writing": (os, "fsync"), "asking": (dpo, "append_logprobs"),
    }  # fmt: skip
    owner, name = places[moment]
    original, seen = getattr(owner, name), 0

    def counting(*arguments: Any, **settings: Any) -> Any:
        nonlocal seen
        if moment == "writing" and ".ckpt." not in os.readlink(f"/proc/self/fd/{arguments[0]}"):
            return original(*arguments, **settings)
        seen += 1
        if seen == number and moment in ("answering", "asking"):
            original(*arguments, **settings)
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **settings)

    setattr(owner, name, counting)
