"""A reward model: a language model's backbone and one number for a conversation."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from peft import PeftModel
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from transformers import PreTrainedModel

from kinnari.functional.reward_metrics import PairScores
from kinnari.models.architectures import kind_of
from kinnari.models.backbone import checkpoint_frozen, freeze_bottom, freeze_untied_head, head_of, hidden_size_of, last_hidden_states
from kinnari.models.half_precision import guard_float16
from kinnari.models.head import base_model_of
from kinnari.models.reward import RewardSettings, check_pooling, pair_losses, pooled, read_rows
from kinnari.models.scalar_head import ScalarHead
from kinnari.models.shared_prefix import SharedRows, can_share, share_prefixes, shared_inputs
from kinnari.models.spec import PackingMethod
from kinnari.strategies.fine_tuning import FineTuning, FineTuningSettings
from kinnari.strategies.microbatches import gather_objects
from kinnari.strategies.optimizer_step import StepTotals
from kinnari.text.batches import Batch
from kinnari.text.pair_batches import counted_pairs


class RewardModel(pl.LightningModule):
    """Learns to score the chosen answer of a pair above the rejected one; both go through one forward.

    A training item is a list of `kinnari.text.pair_batches` batches, the micro-batches of one optimizer step.

    Args:
        model: a Hugging Face causal or seq2seq model, or an encoder (`AutoModel`), tuned as it will be trained (plain, or in PEFT).
        settings: optimizer, schedule; `block_classes` tells which modules are the blocks, by default those that transformers never splits.
        reward: what is frozen, how a row is pooled, the loss.
        packing: how the family keeps parts of a row from each other (`model.packing`); "none" never shares prompts.
    """

    def __init__(
        self,
        model: PreTrainedModel | PeftModel,
        settings: FineTuningSettings | None = None,
        reward: RewardSettings | None = None,
        packing: PackingMethod = "none",
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model, self.reward, self.packing = model, reward or RewardSettings(), packing
        check_pooling(self.reward, kind_of(base_model_of(model).config))
        self.head = head_of(model)
        freeze_untied_head(model, self.head)
        guard_float16(model)  # T5 overflows there, and a notebook's trainer may choose 16-mixed without our knowing
        self.reward_head = ScalarHead(hidden_size_of(model, self.head))
        self.tuning = FineTuning(settings or FineTuningSettings(), accuracy="reward_accuracy", unit="pairs")
        blocks = self.tuning.settings.block_classes or sorted(base_model_of(model)._no_split_modules or ())
        self.frozen = freeze_bottom(model, blocks, self.reward.freeze_fraction, embeddings=self.reward.train_embeddings)
        if self.reward.checkpoint_frozen and self.frozen.passes_gradient:
            checkpoint_frozen(model, blocks)
        self.held_out = PairScores()
        self.scores_of_held_out: PairScores | None = None

    def token_scores(self, batch: Batch) -> Tensor:
        """[B, T] float32: the head's number at every token of `read_rows`, padding too."""
        shared = self._shared(batch)
        if shared is not None:
            inputs = shared_inputs(shared, self.model.config._attn_implementation, self.model.dtype)
            return shared.separate(self.reward_head(last_hidden_states(self.model, self.head, **inputs)))
        rows = read_rows(batch, self.model.config)
        return self.reward_head(last_hidden_states(self.model, self.head, **rows.inputs))

    def _shared(self, batch: Batch) -> SharedRows | None:
        """The pairs without what their rows have in common twice, where that is exact and pays."""
        ids = batch["input_ids"]
        if not self.reward.share_prompts or not can_share(self.model.config, self.packing, ids.shape[1]):
            return None
        return share_prefixes(ids, batch["attention_mask"], self.reward_head.in_features)

    def pooled(self, scores: Tensor, batch: Batch) -> Tensor:
        """Scores [B, T] -> [B], one for each conversation."""
        return pooled(self.reward, scores, read_rows(batch, self.model.config).mask)

    def forward(self, batch: Batch) -> Tensor:
        """Pairs in rows [2P, T] -> [2] float32: sum of the pairs' losses, number of pairs ranked rightly."""
        scores = self.token_scores(batch)
        rewards = self.pooled(scores, batch)
        chosen, rejected = rewards[0::2], rewards[1::2]
        counted = counted_pairs(batch)
        losses = pair_losses(self.reward, scores, rewards, read_rows(batch, self.model.config))
        return torch.stack((losses[counted].sum(), (chosen > rejected)[counted].sum().to(losses.dtype)))

    def training_step(self, batches: list[Batch], step: int) -> None:
        """One optimizer step."""
        self.tuning.step(self, batches, self)

    def validation_step(self, batches: list[Batch], step: int) -> None:
        """Scores of some held-out pairs."""
        for batch in batches:
            scores = self.token_scores(batch)
            rewards, counted = self.pooled(scores, batch), counted_pairs(batch)
            losses = pair_losses(self.reward, scores, rewards, read_rows(batch, self.model.config))
            answers = (batch["labels"] != -100).sum(1)
            self.held_out.add(batch["record_ids"], rewards[0::2][counted], rewards[1::2][counted], losses[counted],
                              answers[0::2][counted], answers[1::2][counted])  # fmt: skip

    def on_validation_epoch_end(self) -> None:
        """Log accuracy, margin, calibration and the like over all ranks, and start anew."""
        everyone = PairScores.joined(gather_objects(self.held_out))
        self.held_out, self.scores_of_held_out = PairScores(), everyone
        values: dict[str, Any] = everyone.metrics()
        self.tuning.validation = StepTotals(sum(everyone.losses), everyone.right, len(everyone))
        self.log_dict({f"val/{name}": value for name, value in values.items()}, prog_bar=True)

    def on_fit_start(self) -> None:
        # from_pretrained returns models in eval mode and Lightning keeps the mode it finds: dropout would be off.
        self.model.train()

    def configure_model(self) -> None:
        self.tuning.shard(self, self.model)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        return self.tuning.configure_optimizers(self, self.model, self.reward_head)
