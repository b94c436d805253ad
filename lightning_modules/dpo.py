"""Direct preference optimisation: a policy learns from pairs, without a reward model and without rollouts."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from peft import PeftModel
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from transformers import PreTrainedModel

from kinnari.errors import ConfigError, need_number
from kinnari.functional.dpo import dpo_loss, pair_losses, sequence_logprobs
from kinnari.functional.labels import IGNORED, shift_targets
from kinnari.functional.reward_metrics import PairScores
from kinnari.models.dropout import train_without_dropout
from kinnari.models.head import install_loss_head
from kinnari.strategies.fine_tuning import FineTuning, FineTuningSettings
from kinnari.strategies.microbatches import agree_max, gather_objects, micro_batch_sync
from kinnari.strategies.optimizer_step import StepTotals
from kinnari.strategies.reference import InitialWeights
from kinnari.strategies.reference_logprobs import PairLogprobs, ReferencePairs, append_logprobs, read_logprobs, share_of_rank
from kinnari.text.batches import Batch
from kinnari.text.pair_batches import counted_pairs
from kinnari.text.progress import progress_line

log = logging.getLogger(__name__)


class DPOModule(pl.LightningModule):
    """Raises the likelihood of chosen answers over rejected ones, relative to the model as it was at the beginning.

    A training item is a list of `kinnari.text.pair_batches` batches, the micro-batches of one optimizer step. Dropout is off, as it
    would move policy and reference apart by chance. What the reference says about a pair is computed once and remembered.

    Args:
        model: a causal model, tuned as it will be trained (plain, or wrapped by PEFT); as it is now, it is the reference.
        settings: optimizer, schedule.
        beta: how much leaving the reference costs.
        label_smoothing: probability that a pair is the wrong way round.
        reference_pairs: what the reference says about these is computed before the first step, or read where it is kept; None computes
            it when a pair is first seen.

    Attributes:
        reference_computed: pairs that the reference was asked about by this process, not read.

    Raises:
        ConfigError: an encoder-decoder, beta or label_smoothing out of range.
    """

    def __init__(
        self,
        model: PreTrainedModel | PeftModel,
        settings: FineTuningSettings | None = None,
        beta: float = 0.1,
        label_smoothing: float = 0.0,
        reference_pairs: ReferencePairs | None = None,
    ) -> None:
        super().__init__()
        if model.config.is_encoder_decoder:
            raise ConfigError("task=dpo trains decoder-only models; choose a causal model.")
        need_number("beta", beta, above=0, why="0.1 is usual")
        need_number("label_smoothing", label_smoothing, least=0, below=0.5, why="0 trusts every pair")
        self.automatic_optimization = False
        self.model, self.beta, self.label_smoothing = model, beta, label_smoothing
        self.head = install_loss_head(model)
        self.reference = InitialWeights(model)
        self.tuning = FineTuning(settings or FineTuningSettings(), accuracy="reward_accuracy", unit="pairs")
        self.remembered: PairLogprobs = {}
        self.reference_pairs, self.reference_computed = reference_pairs, 0
        self.held_out = PairScores()
        self.scores_of_held_out: PairScores | None = None

    def answer_logprobs(self, batch: Batch) -> Tensor:
        """[2P] float32: log-probability in nats of each row's answer with its end."""
        targets = shift_targets(batch["labels"])
        with self.head.token_logprobs(targets):
            said = self.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False).logits
        return sequence_logprobs(said, targets != IGNORED)

    def forward(self, batch: Batch) -> Tensor:
        """Pairs in rows [2P, T] with `reference` [2P] -> [2] float32: sum of the pairs' losses, pairs whose chosen answer gained more."""
        policy, reference = self.answer_logprobs(batch), batch["reference"]  # type: ignore[typeddict-item]
        loss = dpo_loss(policy[0::2], policy[1::2], reference[0::2], reference[1::2], beta=self.beta,
                        label_smoothing=self.label_smoothing, counted=counted_pairs(batch))  # fmt: skip
        return torch.stack((loss.loss_sum, loss.correct.to(loss.loss_sum.dtype)))

    @torch.no_grad()
    def with_reference(self, batches: list[Batch]) -> list[Any]:
        """The batches with `reference` [2P], from memory where all ranks remember all of theirs. Collective."""
        if self.reference_pairs is not None:
            pairs, self.reference_pairs = self.reference_pairs, None
            self._remember_all(pairs)
        new = any(name not in self.remembered for batch in batches for name in batch["record_ids"])
        if agree_max(self.trainer.strategy, float(new)):
            with self._reference_in_use():
                for batch in batches:
                    self.remembered |= self._asked(batch)
        return [dict(batch) | {"reference": self._recalled(batch)} for batch in batches]

    def _remember_all(self, pairs: ReferencePairs) -> None:
        """Read what is kept, and ask the reference about the rest, each rank a share; written as it comes. Collective."""
        strategy, rank, world_size = self.trainer.strategy, self.trainer.global_rank, self.trainer.world_size
        folder = strategy.broadcast(pairs.folder)
        self.remembered = strategy.broadcast({} if folder is None else read_logprobs(folder))
        batches = pairs.batches(self.remembered)
        log.info("reference log-probabilities: %d pairs read, %d batches to compute", len(self.remembered), len(batches))
        found: PairLogprobs = {}
        show, rounds = rank == 0, -(-len(batches) // world_size)
        with self._reference_in_use(), progress_line("reference log-probabilities", rounds, show=show) as advance:
            for number, (batch, counts) in enumerate(share_of_rank(batches, rank, world_size), start=1):
                on_device = {k: v.to(self.device) if isinstance(v, Tensor) else v for k, v in batch.items()}
                asked = self._asked(on_device)  # type: ignore[arg-type]
                if counts:
                    found |= asked
                    if folder is not None:
                        append_logprobs(folder, rank, asked)
                advance(number)
        for part in gather_objects(found):
            self.remembered |= part

    @contextmanager
    def _reference_in_use(self) -> Iterator[None]:
        if not self.reference.shares:
            self.reference.place()
        with self.reference.in_use():
            yield

    def _asked(self, batch: Batch) -> PairLogprobs:
        with micro_batch_sync(self.trainer.strategy, is_last=False):
            pairs = self.answer_logprobs(batch).reshape(-1, 2).tolist()
        self.reference_computed += len(batch["record_ids"])
        return {name: (c, r) for name, (c, r) in zip(batch["record_ids"], pairs, strict=False)}

    def _recalled(self, batch: Batch) -> Tensor:
        known = [number for name in batch["record_ids"] for number in self.remembered[name]]
        return torch.tensor(known or [0.0, 0.0], device=batch["input_ids"].device)  # an empty micro-batch has a pair of no name

    def training_step(self, batches: list[Batch], step: int) -> None:
        """One optimizer step."""
        train_without_dropout(self.model)
        self.tuning.step(self, self.with_reference(batches), self)

    def validation_step(self, batches: list[Batch], step: int) -> None:
        """What held-out pairs gained and lost."""
        for batch in self.with_reference(batches):
            policy, counted = self.answer_logprobs(batch), counted_pairs(batch)
            gained = self.beta * (policy - batch["reference"])
            losses = pair_losses(gained[0::2] - gained[1::2], self.label_smoothing)
            lengths = (batch["labels"] != IGNORED).sum(1)
            self.held_out.add(batch["record_ids"], gained[0::2][counted], gained[1::2][counted], losses[counted],
                              lengths[0::2][counted], lengths[1::2][counted])  # fmt: skip

    def on_validation_epoch_end(self) -> None:
        """Log loss, accuracy and margin of the implicit rewards over all ranks, and start anew."""
        everyone = PairScores.joined(gather_objects(self.held_out))
        self.held_out, self.scores_of_held_out = PairScores(), everyone
        self.tuning.validation = StepTotals(sum(everyone.losses), everyone.right, len(everyone))
        self.log_dict({f"val/{name}": value for name, value in everyone.metrics().items()}, prog_bar=True)

    def configure_model(self) -> None:
        self.tuning.shard(self, self.model)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        return self.tuning.configure_optimizers(self, self.model)
