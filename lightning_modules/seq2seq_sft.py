"""Supervised fine-tuning of an encoder-decoder model."""

from __future__ import annotations

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

from kinnari.functional.labels import IGNORED
from kinnari.models.half_precision import guard_float16
from kinnari.models.head import install_loss_head
from kinnari.strategies.fine_tuning import FineTuning, FineTuningSettings
from kinnari.text.batches import Batch


class Seq2SeqSFT(pl.LightningModule):
    """Trains an encoder-decoder: the encoder reads the prompt, the decoder learns the answer and its EOS.

    A training item is a list of `kinnari.text.batches.Batch`, the micro-batches of one optimizer step.

    Args:
        model: a Hugging Face seq2seq model, tuned as it will be trained (plain, or wrapped by PEFT).
        settings: optimizer, schedule, loss.
    """

    def __init__(self, model: PreTrainedModel, settings: FineTuningSettings | None = None) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = model
        self.head = install_loss_head(model)
        guard_float16(model)  # T5 overflows there, and a notebook's trainer may choose 16-mixed without our knowing
        self.tuning = FineTuning(settings or FineTuningSettings())

    def forward(self, batch: Batch) -> Tensor:
        """Micro-batch -> [2] float32: sum of token losses in nats, number of right predictions."""
        # The model shifts decoder_input_ids itself, so a label is the target of its own position. Not given to the model as
        # `labels`, which would compute a second loss: decoder inputs are made by the model's own rule instead.
        labels = batch["labels"]
        decoder_input_ids = shifted_right(labels, self.model.config)
        with self.head.loss_of(labels, chunked=self.tuning.settings.chunked_loss):
            return self.model(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                decoder_input_ids=decoder_input_ids,
                use_cache=False,
            ).logits

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


def shifted_right(labels: Tensor, config: PretrainedConfig) -> Tensor:
    """Labels [B, S] -> decoder inputs [B, S] int64: the start token, then all but the last label, -100 as padding."""
    start = torch.full_like(labels[:, :1], config.decoder_start_token_id)
    shifted = torch.cat([start, labels[:, :-1]], dim=1)
    return shifted.masked_fill(shifted == IGNORED, config.pad_token_id)
