"""Supervised fine-tuning of an encoder-decoder model."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

from kinnari.functional.labels import IGNORED
from kinnari.models.half_precision import guard_float16
from kinnari.models.head import install_loss_head
from kinnari.strategies.fine_tuning import FineTuningSettings
from kinnari.text.batches import Batch
from lightning_modules.supervised import SupervisedModule


class Seq2SeqSFT(SupervisedModule):
    """Trains an encoder-decoder: the encoder reads the prompt, the decoder learns the answer and its EOS.

    A training item is a list of `kinnari.text.batches.Batch`, the micro-batches of one optimizer step.

    Args:
        model: a Hugging Face seq2seq model, tuned as it will be trained (plain, or wrapped by PEFT).
        settings: optimizer, schedule, loss.
    """

    def __init__(self, model: PreTrainedModel, settings: FineTuningSettings | None = None) -> None:
        super().__init__(model, settings)
        self.head = install_loss_head(model)
        guard_float16(model)  # T5 overflows there, and a notebook's trainer may choose 16-mixed without our knowing

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


def shifted_right(labels: Tensor, config: PretrainedConfig) -> Tensor:
    """Labels [B, S] -> decoder inputs [B, S] int64: the start token, then all but the last label, -100 as padding."""
    start = torch.full_like(labels[:, :1], config.decoder_start_token_id)
    shifted = torch.cat([start, labels[:, :-1]], dim=1)
    return shifted.masked_fill(shifted == IGNORED, config.pad_token_id)
