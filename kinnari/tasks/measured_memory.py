"""The memory of a few real steps, by component where it can be told, to be held against the plan; then the run ends."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import psutil
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from kinnari.planning.live_bytes import LiveBytes
from kinnari.strategies.throughput import GIB, forget_peak_memory, peak_memory_gib

_STEP = "step "


class Measured(Exception):
    """Enough steps were measured; the numbers are in the file."""


class MeasuredMemory(pl.Callback):
    """Measures the first optimizer steps (task=ppo: iterations) of a run, writes `rank_N.json`, and ends the run.

    On a CPU the bytes of live tensors, by what they are for, from a dispatch mode over the making of the strategy and the steps, and the
    resident memory above what the process held without the model. On a GPU what the allocator counts.

    Args:
        folder: receives the file.
        steps: to measure.

    Raises:
        Measured: in a process that does nothing else after it, after the last step; a rank ends with status 0 instead.
    """

    def __init__(self, folder: str, steps: int) -> None:
        self.folder, self.steps = Path(folder), steps
        self.live: LiveBytes | None = None
        self.held: dict[str, float] = {}
        self.baseline_gib = 0.0
        self._done, self._is_counting = 0, False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if trainer.strategy.root_device.type == "cpu":  # before the strategy shards the module and makes its buffers
            self.live = LiveBytes()
            self.live.hold(pl_module, _kind)
            self.live.enter("made", "weights")
            self.live.__enter__()
            self._is_counting = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.held = _held(pl_module)
        forget_peak_memory()
        self.baseline_gib = psutil.Process().memory_info().rss / GIB - sum(self.held.values())

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        if self.live is not None:
            self.live.enter(f"{_STEP}{self._done}", "activations")

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.live is not None:
            self.live.enter("between", "activations")
        states = _states(trainer)
        if self.live is not None:
            for tensor in states:
                self.live.count(tensor, "optimizer")
        self._done += 1
        if self._done < self.steps:
            return
        self._leave()
        self._write(trainer, pl_module, states)
        if "KINNARI_PARENT" in os.environ and trainer.world_size > 1:
            trainer.strategy.barrier()
            sys.stdout.flush()
            os._exit(0)
        raise Measured

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._leave()

    def _leave(self) -> None:
        if self.live is not None and self._is_counting:
            self._is_counting = False
            self.live.__exit__(None, None, None)

    def _write(self, trainer: pl.Trainer, module: pl.LightningModule, states: list[Tensor]) -> None:
        found: dict[str, Any] = {"by": "the process", "components": self.held | {"optimizer": _gib(states)}}
        if module.device.type == "cuda":
            found["by"] = "the allocator"
            found["peak_gib"] = torch.cuda.max_memory_allocated(module.device) / GIB
            found["reserved_gib"] = torch.cuda.max_memory_reserved(module.device) / GIB
        else:
            found["resident_gib"] = found["peak_gib"] = peak_memory_gib(module.device) - self.baseline_gib
        if self.live is not None:
            found["by"] = "live tensors"
            steps = [kinds for part, kinds in self.live.peaks.items() if part.startswith(_STEP)]
            highest = max(steps, key=lambda kinds: kinds.total())
            found["peak_gib"] = highest.total() / GIB
            found["components"] = {kind: count / GIB for kind, count in highest.items() if count > 0}
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / f"rank_{trainer.global_rank}.json"
        file.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def _kind(name: str) -> str:
    return "adapters" if "lora_" in name else "weights"


def _held(module: nn.Module) -> dict[str, float]:
    """Component -> GiB of the parameters and buffers, each storage once; of sharded ones the part that is here."""
    seen: set[int] = set()
    found: dict[str, float] = {}
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        local = _local(tensor)
        storage = local.untyped_storage()
        if storage.data_ptr() not in seen:
            seen.add(storage.data_ptr())
            found[_kind(name)] = found.get(_kind(name), 0.0) + storage.nbytes() / GIB
    return found


def _states(trainer: pl.Trainer) -> list[Tensor]:
    """Tensors of the optimizers' state."""
    return [leaf for optimizer in trainer.optimizers for leaf in tree_leaves(dict(optimizer.state)) if isinstance(leaf, Tensor)]


def _gib(tensors: list[Tensor]) -> float:
    return sum(local.numel() * local.element_size() for local in map(_local, tensors)) / GIB


def _local(tensor: Tensor) -> Tensor:
    """The part of a sharded tensor that this rank has."""
    from torch.distributed.tensor import DTensor

    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
