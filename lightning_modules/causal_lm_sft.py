"""Supervised fine-tuning of a decoder-only model."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from transformers import PreTrainedModel

from kinnari.functional.labels import shift_targets
from kinnari.models.head import install_loss_head
from kinnari.models.packing import packed_inputs
from kinnari.models.spec import PackingMethod
from kinnari.strategies.fine_tuning import FineTuning, FineTuningSettings
from kinnari.text.batches import Batch


class CausalLMSFT(pl.LightningModule):
    """Trains a causal model on the trained tokens of conversations.

    A training item is a list of `kinnari.text.batches.Batch`, the micro-batches of one optimizer step.

    Args:
        model: a Hugging Face causal model, tuned as it will be trained (plain, or wrapped by PEFT).
        settings: optimizer, schedule, loss.
        packing: how packed rows are kept apart for this family: position_ids | mask4d, or none, which refuses packed rows
            (`model.packing` of the model's file in conf/model says which).
        attention: the attention implementation the model was loaded with: sdpa | eager | flash_attention_2; None asks it.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        settings: FineTuningSettings | None = None,
        packing: PackingMethod = "none",
        attention: str | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = model
        self.head = install_loss_head(model)
        self.packing, self.attention = packing, attention or model.config._attn_implementation
        self.tuning = FineTuning(settings or FineTuningSettings())

    def forward(self, batch: Batch) -> Tensor:
        """Micro-batch -> [2] float32: sum of token losses in nats, number of right predictions."""
        inputs: dict[str, Any] = {"attention_mask": batch["attention_mask"], "use_cache": False}
        if "segment_ids" in batch:
            inputs = packed_inputs(batch["position_ids"], batch["segment_ids"], self.packing, self.attention, self.model.dtype)
        with self.head.loss_of(shift_targets(batch["labels"]), chunked=self.tuning.settings.chunked_loss):
            return self.model(input_ids=batch["input_ids"], **inputs).logits

    def training_step(self, batches: list[Batch], step: int) -> None:
        """One optimizer step."""
        self.tuning.step(self, batches, self)

    def validation_step(self, batches: list[Batch], step: int) -> None:
        """Held-out loss of some micro-batches."""
        self.tuning.validate(batches, self)

    def on_validation_epoch_end(self) -> None:
        self.tuning.finish_validation(self)

    def on_fit_start(self) -> None:
        # from_pretrained returns models in eval mode and Lightning keeps the mode it finds: dropout would be off.
        self.model.train()

    def configure_model(self) -> None:
        self.tuning.shard(self, self.model)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        return self.tuning.configure_optimizers(self, self.model)
