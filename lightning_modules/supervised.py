"""The hooks that modules of supervised fine-tuning share; a module adds its model and its forward."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig

from kinnari.strategies.fine_tuning import FineTuning, FineTuningSettings
from kinnari.text.batches import Batch


class SupervisedModule(pl.LightningModule):
    """Steps and validates by `forward(batch) -> [2]`, the sum of token losses and the number of right predictions of a micro-batch.

    Args:
        model: tuned as it will be trained (plain, or wrapped by PEFT).
        settings: optimizer, schedule, loss.
    """

    def __init__(self, model: Any, settings: FineTuningSettings | None = None) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = model
        self.tuning = FineTuning(settings or FineTuningSettings())

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
