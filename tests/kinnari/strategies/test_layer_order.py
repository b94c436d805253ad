"""ZeRO-3 gathers layers ahead once it knows their order, computes the same, and holds no copies after a pass."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from kinnari.strategies.microbatches import micro_batch_sync
from kinnari.strategies.parallel import build_strategy
from tests.distributed import run_ranks
from tests.kinnari.strategies.toy import Steps, ToySFT, toy_model

LAYERS = 21  # parameters of the toy, of which every layer has one


@dataclass
class Seen:
    """Of one training: fetches as (trace, forward, parameters of the layer, those gathered or under way before it asks), and results."""

    fetches: list[tuple[str, bool, int, int]] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    validated: list[float] = field(default_factory=list)

    def counted(self, trace: str) -> tuple[int, int]:
        """Parameters asked for, and those of them that were there, under one state of the trace."""
        asked = [(own, there) for found, _, own, there in self.fetches if found == trace]
        return sum(own for own, _ in asked), sum(there for _, there in asked)


class LookingSFT(ToySFT):
    """Notes how many parameters lie gathered after a validation; one that `fails` gives up in the middle of two passes."""

    def __init__(self, seen: Seen, fails: bool) -> None:
        super().__init__(toy_model())
        self.seen, self.fails = seen, fails

    def training_step(self, batch: Any, batch_idx: int) -> None:
        if self.fails and batch_idx in (0, 3):
            with suppress(TimeoutError), micro_batch_sync(self.trainer.strategy, is_last=False):
                self.model.model.layers[0].mlp(torch.ones(1, 2, 32))
                raise TimeoutError
        super().training_step(batch, batch_idx)

    def on_validation_batch_end(self, *_: Any) -> None:
        self.seen.left.append(sum(p.ds_status.name != "NOT_AVAILABLE" for p in self.parameters()))


@contextmanager
def _noted(seen: Seen) -> Iterator[None]:
    from deepspeed.runtime.zero.partitioned_param_coordinator import PartitionedParameterCoordinator as Coordinator

    original = Coordinator.fetch_sub_module

    def noting(self: Any, module: torch.nn.Module, forward: bool) -> None:
        trace = "complete" if self.is_complete_trace() else "record" if self.is_record_trace() else "invalid"
        own = list(module.parameters(recurse=False))
        seen.fetches.append((trace, forward, len(own), sum(p.ds_status.name != "NOT_AVAILABLE" for p in own)))
        original(self, module, forward)

    Coordinator.fetch_sub_module = noting
    try:
        yield
    finally:
        Coordinator.fetch_sub_module = original


def _train(ahead: int, fails: bool = False) -> Seen:
    """Six steps of two micro-batches, a validation before the first, after the third and the sixth."""
    seen, rank = Seen(), int(os.environ["RANK"])
    strategy = build_strategy("deepspeed_zero3", accelerator="cpu", devices=2, precision="32-true", gradient_clip=None, timeout_s=60)
    sizes = {"stage3_param_persistence_threshold": 0, "stage3_max_live_parameters": ahead}
    strategy.config["zero_optimization"] |= sizes  # type: ignore[attr-defined]
    module = LookingSFT(seen, fails)
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(strategy=strategy, accelerator="cpu", devices=2, max_epochs=1, use_distributed_sampler=False,
                         val_check_interval=3, limit_val_batches=1, num_sanity_val_steps=1, **quiet)  # fmt: skip
    with _noted(seen):
        trainer.fit(module, DataLoader(Steps(rank, 2), batch_size=None), DataLoader(Steps(0, 1), batch_size=None))
    seen.losses, seen.validated = module.losses, module.validated
    return seen


def _trainings() -> dict[str, Seen]:
    return {"nothing ahead": _train(0), "ahead": _train(4000), "interrupted": _train(4000, fails=True)}


@pytest.fixture(scope="module")
def trained(one_thread: None) -> dict[str, Seen]:
    return run_ranks(_trainings, 2)[0]


@pytest.mark.slow
def test_one_micro_batch_teaches_the_order_and_from_then_on_every_layer_is_there_or_under_way(trained: dict[str, Seen]) -> None:
    seen = trained["ahead"]
    assert seen.counted("record") == (2 * LAYERS, 0), "forward and backward of the first micro-batch"
    assert seen.counted("invalid") == (LAYERS, 0), "the validation before it has no backward: its order is not learnt"
    forwards, backwards = 11 + 2, 11
    assert seen.counted("complete") == ((forwards + backwards) * LAYERS, (forwards + backwards) * LAYERS)


@pytest.mark.slow
def test_with_no_room_nothing_is_gathered_ahead(trained: dict[str, Seen]) -> None:
    asked, there = trained["nothing ahead"].counted("complete")
    assert asked == 24 * LAYERS
    assert there == 0


@pytest.mark.slow
def test_gathering_ahead_changes_no_bit(trained: dict[str, Seen]) -> None:
    ahead, without = trained["ahead"], trained["nothing ahead"]
    assert ahead.losses == without.losses
    assert ahead.validated == without.validated


@pytest.mark.slow
def test_no_copy_outlives_a_forward_without_a_backward(trained: dict[str, Seen]) -> None:
    assert trained["ahead"].left == [0, 0, 0]


@pytest.mark.slow
def test_a_pass_that_failed_teaches_nothing_and_disturbs_none(trained: dict[str, Seen]) -> None:
    broken, whole = trained["interrupted"], trained["ahead"]
    assert broken.losses == whole.losses
    asked, there = broken.counted("complete")
    assert there == asked > 15 * LAYERS
