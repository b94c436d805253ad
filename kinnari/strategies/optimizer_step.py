"""One optimizer step over any number of micro-batches, the same arithmetic under every strategy.

    for each micro-batch:   loss = sum of token losses / trained tokens of the whole global batch;  backward
    then, once:             sum gradients over ranks, clip, step

Lightning's own accumulation averages micro-batches, which weighs a token in a short batch more than one in a long batch;
this does not (contract 1). Out of memory halves the micro-batches and does the step again; since the loss is a sum over
tokens, the result is the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from kinnari.errors import ConfigError, RunStopped
from kinnari.strategies.microbatches import agree_max, loss_factor, micro_batch_sync, sum_gradients, sum_over_ranks
from kinnari.text.batches import Batch, halve

log = logging.getLogger(__name__)


class TrainingStopped(RunStopped):
    """Training cannot go on for a reason that is in the data or the numbers, not in the configuration's form."""


@dataclass(frozen=True)
class StepTotals:
    """Sums over the whole global batch: token losses in nats, right predictions, trained tokens."""

    nll_sum: float
    correct: int
    trained_tokens: int

    @property
    def loss(self) -> float:
        """Mean token loss in nats."""
        return self.nll_sum / max(1, self.trained_tokens)

    @property
    def token_accuracy(self) -> float:
        """Share of trained tokens that the model ranks first."""
        return self.correct / max(1, self.trained_tokens)


class MicroBatchRunner:
    """Forward and backward over the micro-batches of a step, halving them for good when memory runs out.

    Args:
        seed: with the step number and the rank it seeds dropout, so a resumed or retried step draws what it drew before.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.halvings = 0
        self._totals: list[tuple[list[str], Tensor]] = []

    def run(self, module: pl.LightningModule, batches: Sequence[Batch], totals_of: Callable[[Batch], Tensor]) -> StepTotals:
        """Accumulate gradients of the mean loss over the global batch; leaves them summed over ranks, not yet clipped.

        Args:
            module: its trainer's strategy decides how ranks work together; must use manual optimisation.
            batches: the micro-batches of this rank, as many as on any other rank.
            totals_of: forward of one micro-batch -> [2] (sum of token losses, right predictions).

        Raises:
            ConfigError: if memory ran out with one row per micro-batch.
            torch.OutOfMemoryError: under a sharded strategy, whose ranks cannot agree to go back in the middle of a step (the
                launcher starts them again with smaller micro-batches).
        """
        strategy = module.trainer.strategy
        while True:
            seed_step(self.seed, module.trainer.global_step, module.trainer.global_rank)
            pieces = list(batches)
            for _ in range(self.halvings):
                pieces = [half for piece in pieces for half in halve(piece)]
            # One collective tells both: what the ranks computed, and whether any of them ran out of memory on the way.
            nll_sum, correct, out_of_memory = sum_over_ranks(strategy, self._attempt(module, pieces, totals_of)).tolist()
            if not out_of_memory:
                break
            self._make_smaller(module, pieces)
        sum_gradients(strategy, trainable(module))
        return StepTotals(nll_sum, int(correct), batches[0]["step_tokens"])

    def _attempt(self, module: pl.LightningModule, pieces: list[Batch], totals_of: Callable[[Batch], Tensor]) -> Tensor:
        """[3] float64 of this rank: sum of token losses, right predictions, 1 where memory ran out (0 else)."""
        strategy = module.trainer.strategy
        sums = torch.zeros(3, dtype=torch.float64, device=module.device)
        self._totals = []
        try:
            for i, batch in enumerate(pieces):
                with micro_batch_sync(strategy, is_last=i == len(pieces) - 1):
                    totals = totals_of(batch)
                    module.manual_backward(totals[0] * (loss_factor(strategy) / max(1, batch["step_tokens"])))
                sums[:2] += totals.detach().double()
                self._totals.append((batch["record_ids"], totals.detach()))
                del totals  # with the graph: bitsandbytes' 4-bit products keep gathered weights as long as it lives
        except torch.OutOfMemoryError:
            if loss_factor(strategy) != 1.0:
                raise
            sums[2] = 1.0
        return sums

    def suspects(self) -> list[str]:
        """Record ids of this rank's micro-batches of the last step whose loss is not finite; of all where every loss is."""
        bad = {record for ids, totals in self._totals if not torch.isfinite(totals[0]) for record in ids}
        return sorted(bad or {record for ids, _ in self._totals for record in ids})

    def _make_smaller(self, module: pl.LightningModule, pieces: list[Batch]) -> None:
        """Forget the gradients of the failed attempt and halve micro-batches from now on."""
        rows = max(piece["input_ids"].shape[0] // piece.get("rows_together", 1) for piece in pieces)
        if agree_max(module.trainer.strategy, float(rows)) == 1:
            width = max(piece["input_ids"].shape[1] for piece in pieces)
            raise ConfigError(
                f"Out of memory: a single row of {width} tokens does not fit. Lower model.max_length, "
                "set strategy.tuning.gradient_checkpointing=true, or choose strategy=qlora or strategy/parallel=fsdp."
            )
        self.halvings += 1
        for parameter in trainable(module):
            parameter.grad = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        log.warning("out of memory: micro-batches halved to %d rows from here on, the step is done again", (rows + 1) // 2)


def trainable(module: torch.nn.Module) -> list[torch.nn.Parameter]:
    """Parameters that receive gradients, in the order of the module."""
    return [p for p in module.parameters() if p.requires_grad]


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed torch on every device from (seed, step, rank): no generator state needs saving to resume exactly."""
    torch.manual_seed(int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> 1))
