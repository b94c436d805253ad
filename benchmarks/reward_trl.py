"""The TRL variants of `benchmarks/reward.py`: RewardTrainer at its defaults and without gradient checkpointing, layers frozen or not.

All get the pairs that Kinnari trains on as token ids, in the same micro-batches, so that every difference is the trainer's.
"""

from __future__ import annotations

from typing import Any

import torch
from datasets import Dataset
from reward_child import Run
from sft_child import StepLog, clock_of
from torch import nn
from transformers import AutoModelForSequenceClassification, TrainerCallback
from trl import RewardConfig, RewardTrainer

from kinnari.models.backbone import freeze_bottom
from kinnari.models.source import model_source


class CountingTrainer(RewardTrainer):
    """RewardTrainer that counts what it trains on; the counting itself is a few sums over integers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.forget()
        super().__init__(*args, **kwargs)

    def forget(self) -> None:
        """A step begins."""
        self.counted: dict[str, Any] = {"real": 0, "total": 0, "trained": 0, "records": 0, "loss": 0.0}

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """One micro-batch."""
        ids, mask, counted = inputs["input_ids"], inputs["attention_mask"], self.counted
        counted["real"] += int(mask.sum())
        counted["total"] += ids.numel()
        counted["trained"] += ids.shape[0] // 2
        counted["records"] += ids.shape[0] // 2
        loss = super().training_step(model, inputs, num_items_in_batch)
        counted["loss"] += loss.item()  # already a share of the step's mean
        return loss


class TimedSteps(TrainerCallback):
    """Fills a StepLog from TRL's trainer."""

    def __init__(self, log: StepLog, trainer: CountingTrainer) -> None:
        self.log, self.trainer = log, trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.log.begin()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.log.add(**self.trainer.counted)
        self.trainer.forget()


def trl_run(run: Run) -> tuple[StepLog, int]:
    """Train the pairs of the first `run.steps` optimizer steps with RewardTrainer."""
    settings, cfg = run.settings, run.cfg
    args = RewardConfig(
        output_dir=cfg.output_dir,
        per_device_train_batch_size=settings["micro"],
        gradient_accumulation_steps=settings["accumulation"],
        max_length=cfg.model.max_length,
        num_train_epochs=1,
        learning_rate=cfg.optimizer.lr,
        weight_decay=cfg.optimizer.weight_decay,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=0.03,
        max_grad_norm=cfg.trainer.gradient_clip,
        bf16=cfg.trainer.precision == "bf16-mixed",
        gradient_checkpointing="no_checkpoint" not in settings["variant"],
        train_sampling_strategy="sequential",
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        seed=cfg.seed,
    )
    model = scoring_model(run)
    trainer = CountingTrainer(model, args, train_dataset=pairs_of(run), processing_class=run.tokenizer)
    log = StepLog(clock_of(settings))
    trainer.add_callback(TimedSteps(log, trainer))
    trainer.train()
    return log, sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def scoring_model(run: Run) -> nn.Module:
    """What RewardTrainer makes of a model's name, with the head and the frozen layers of ours."""
    source = model_source(run.parts.spec, seed=run.cfg.seed)
    model = AutoModelForSequenceClassification.from_pretrained(source, num_labels=1, dtype=torch.float32)
    with torch.no_grad():
        model.score.weight.copy_(run.head(model.score.in_features))
    freeze_bottom(model, run.parts.spec.block_classes, run.reward.freeze_fraction, embeddings=run.reward.train_embeddings)
    return model


def pairs_of(run: Run) -> Dataset:
    """The pairs of the first steps as token ids, in the order and the micro-batches in which Kinnari trains them."""
    rows, records = [], run.data.train_records.rows
    for step in range(run.steps):
        for micro in run.data.plan.share(step, 0):
            for pair in (pair for row in micro for pair in row):
                rows.append({"chosen_ids": records[2 * pair][0].tolist(), "rejected_ids": records[2 * pair + 1][0].tolist()})
    return Dataset.from_list(rows)
