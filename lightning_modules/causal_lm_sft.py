"""Supervised fine-tuning of a decoder-only model."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from kinnari.functional.labels import shift_targets
from kinnari.models.head import install_loss_head
from kinnari.models.packing import packed_inputs
from kinnari.models.spec import PackingMethod
from kinnari.strategies.fine_tuning import FineTuningSettings
from kinnari.text.batches import Batch
from lightning_modules.supervised import SupervisedModule


class CausalLMSFT(SupervisedModule):
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
        super().__init__(model, settings)
        self.head = install_loss_head(model)
        self.packing, self.attention = packing, attention or model.config._attn_implementation

    def forward(self, batch: Batch) -> Tensor:
        """Micro-batch -> [2] float32: sum of token losses in nats, number of right predictions."""
        inputs: dict[str, Any] = {"attention_mask": batch["attention_mask"], "use_cache": False}
        if "segment_ids" in batch:
            inputs = packed_inputs(batch["position_ids"], batch["segment_ids"], self.packing, self.attention, self.model.dtype)
        with self.head.loss_of(shift_targets(batch["labels"]), chunked=self.tuning.settings.chunked_loss):
            return self.model(input_ids=batch["input_ids"], **inputs).logits
