"""What CausalLMSFT and Seq2SeqSFT share: a step, a validation, an optimizer; the modules differ in their forward alone."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from kinnari.errors import ConfigError
from kinnari.functional.labels import count_trained, perplexity
from kinnari.models.lora_layers import fuse_lora
from kinnari.strategies.microbatches import gather_texts, gradient_rules, step_with_clipping, sum_over_ranks
from kinnari.strategies.optimizer_step import MicroBatchRunner, StepTotals, TrainingStopped, trainable
from kinnari.strategies.optimizers import build_optimizer, build_scheduler, decay_groups
from kinnari.strategies.sharding import shard_fsdp2
from kinnari.text.batches import Batch, padding_fraction

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FineTuningSettings:
    """How a fine-tuning module trains.

    Args:
        optimizer: parameter groups -> optimizer (Hydra: `_partial_`); by default what LoRA usually takes.
        scheduler: (optimizer, total_steps) -> scheduler stepped once per optimizer step.
        total_steps: optimizer steps of the whole run; None asks the trainer (max_steps, or max_epochs over the data).
        weight_decay: of the groups that decay; biases and norms never do.
        gradient_clip: largest norm of the whole gradient, None for no clipping.
        chunked_loss: compute the loss without ever holding the full logits.
        block_classes: class names of the repeated blocks, sharded one by one under FSDP2.
        precision: Lightning's precision name, used by sharded strategies.
        nan_patience: consecutive non-finite losses after which training stops.
        seed: of dropout.
    """

    optimizer: Callable[[list[dict]], torch.optim.Optimizer] = partial(build_optimizer, name="adamw", lr=2e-4)
    scheduler: Callable[..., torch.optim.lr_scheduler.LRScheduler] = partial(build_scheduler, name="cosine", warmup_ratio=0.03)
    total_steps: int | None = None
    weight_decay: float = 0.0
    gradient_clip: float | None = 1.0
    chunked_loss: bool = True
    block_classes: Sequence[str] = ()
    precision: str = "32-true"
    nan_patience: int = 3
    seed: int = 42


class ProcessedTokens(NamedTuple):
    """What steps computed on: real tokens and tokens with padding of this rank, trained ones (or pairs) of all ranks."""

    real: int
    total: int
    trained: int

    def plus(self, real: int, total: int, trained: int) -> ProcessedTokens:
        return ProcessedTokens(self.real + real, self.total + total, self.trained + trained)

    def since(self, before: ProcessedTokens) -> ProcessedTokens:
        return self.plus(*(-part for part in before))


class FineTuning:
    """The optimizer steps and validation sums of one module.

    Args:
        accuracy: what the share of right predictions is called in the log.
        unit: what the loss is a mean over, in the plural.

    Attributes:
        last: totals of the latest optimizer step, for callbacks.
        validation: totals of the latest validation, None before the first.
        gradient_norm: norm of the latest gradient before clipping.
        processed: tokens of all steps so far.
    """

    def __init__(self, settings: FineTuningSettings, accuracy: str = "token_accuracy", unit: str = "trained tokens") -> None:
        self.settings, self.accuracy, self.unit = settings, accuracy, unit
        self.runner = MicroBatchRunner(settings.seed)
        self.last = StepTotals(0.0, 0, 0)
        self.gradient_norm = 0.0
        self.processed = ProcessedTokens(0, 0, 0)
        self._bad_steps = 0
        self.validation: StepTotals | None = None
        self._validation = torch.zeros(3, dtype=torch.float64)

    def shard(self, module: pl.LightningModule, model: nn.Module) -> None:
        """Shard `model` over the ranks where the trainer's strategy is FSDP2 (once), and fuse LoRA layers where none shards."""
        if module.device_mesh is not None and not isinstance(model, FSDPModule):
            mesh = module.device_mesh["data_parallel"]
            shard_fsdp2(model, self.settings.block_classes, mesh, self.settings.precision)
        elif not gradient_rules(module.trainer.strategy).averages_gradients:
            # measured for SmolLM2 on a CPU with dropout 0.05: about 1.1 times as fast as PEFT's layers, 0.43 of their step memory
            fuse_lora(model)

    def configure_optimizers(self, module: pl.LightningModule, model: nn.Module, *heads: nn.Module) -> OptimizerLRSchedulerConfig:
        """Optimizer over decay groups and its scheduler, in Lightning's form.

        Args:
            model: what is sharded where the strategy shards.
            heads: trained beside it; in groups of their own, since an update of whole and of sharded tensors cannot be one.

        Raises:
            ConfigError: neither the settings nor the trainer say how long the run is.
        """
        groups = [group for part in (model, *heads) for group in decay_groups(part, self.settings.weight_decay)]
        optimizer = self.settings.optimizer(groups)
        steps = self.settings.total_steps or module.trainer.estimated_stepping_batches
        if math.isinf(steps):
            raise ConfigError("The schedule needs an end: give pl.Trainer max_steps or max_epochs, or FineTuningSettings total_steps.")
        return {"optimizer": optimizer, "lr_scheduler": self.settings.scheduler(optimizer, total_steps=int(steps))}

    def step(self, module: pl.LightningModule, batches: list[Batch], totals_of: Callable[[Batch], Tensor]) -> StepTotals:
        """One optimizer step: accumulate, check, clip, update, log."""
        optimizer: Any = module.optimizers()
        scheduler: Any = module.lr_schedulers()
        self.last = self.runner.run(module, batches, totals_of)
        self.processed = self.processed.plus(*padding_fraction(batches), self.last.trained_tokens)
        limit = self.settings.gradient_clip
        self.gradient_norm = step_with_clipping(module.trainer.strategy, optimizer, trainable(module), limit)
        self._check_finite(module)
        optimizer.zero_grad(set_to_none=True)
        scheduler.step()
        values = {"train/loss": self.last.loss, f"train/{self.accuracy}": self.last.token_accuracy}
        values |= {"train/grad_norm": self.gradient_norm, "train/lr": optimizer.param_groups[0]["lr"]}
        module.log_dict(values, batch_size=1)
        return self.last

    def validate(self, batches: list[Batch], totals_of: Callable[[Batch], Tensor]) -> None:
        """Add a validation item to the sums."""
        for batch in batches:
            totals = totals_of(batch).double().cpu()
            count = count_trained(batch["labels"])
            self._validation += torch.tensor([totals[0], totals[1], count], dtype=torch.float64)

    def finish_validation(self, module: pl.LightningModule) -> None:
        """Log val/loss, val/perplexity and val/token_accuracy over all ranks, and start anew."""
        sums = sum_over_ranks(module.trainer.strategy, self._validation.to(module.device))
        nll_sum, correct, count = sums.tolist()
        self._validation.zero_()
        self.validation = StepTotals(nll_sum, int(correct), int(count))
        values = {"val/loss": self.validation.loss, "val/perplexity": perplexity(nll_sum, count)}
        module.log_dict(values | {"val/token_accuracy": self.validation.token_accuracy}, prog_bar=True)

    def _check_finite(self, module: pl.LightningModule) -> None:
        """Count steps running whose loss or gradient was not finite (they moved no weight), and stop when there are too many.

        The gradients of float16 overflow now and then until the loss scale has settled: there the loss alone is judged.
        """
        scaled = self.settings.precision == "16-mixed"
        if math.isfinite(self.last.nll_sum) and (scaled or math.isfinite(self.gradient_norm)):
            self._bad_steps = 0
            return
        self._bad_steps += 1
        what = "gradient" if math.isfinite(self.last.nll_sum) else "loss"
        step = module.trainer.global_step  # 1-based: it has been counted already
        records = ", ".join(gather_texts(self.runner.suspects()))
        log.warning("step %d: the %s is not finite, the weights stay as they are; records of the batch: %s", step, what, records)
        if self._bad_steps >= self.settings.nan_patience:
            raise TrainingStopped(
                f"The {what} was not finite in {self._bad_steps} steps running; the last was step {step} with the records {records}. "
                "The weights are those from before these steps. Lower optimizer.lr, look at these records with task=inspect, or use "
                "trainer.precision=32-true; trainer.nan_patience sets how many steps are tolerated."
            )
