"""The TRL variants of `benchmarks/sft.py`: SFTTrainer at its defaults, and at the settings that might be its best on a CPU.

All get the token ids and labels that Kinnari trains on, in the same order, so that every difference is the trainer's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import pytorch_lightning as pl
import torch
from datasets import Dataset
from peft import LoraConfig
from sft_child import Run, StepLog, clock_of
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer

from kinnari.functional.labels import IGNORED
from kinnari.models.source import model_source
from kinnari.tasks import build

# gradient checkpointing is TRL's default and costs time; a frozen base needs no float32 weights
_TUNED = {"gradient_checkpointing": False}
OPTIONS: dict[str, dict[str, Any]] = {
    "trl": {},
    "trl_no_checkpoint": _TUNED,
    "trl_grouped": {**_TUNED, "train_sampling_strategy": "group_by_length"},
    "trl_padding_free": {**_TUNED, "padding_free": True, "max_length": None},
    "trl_packed": {**_TUNED, "packing": True, "packing_strategy": "bfd", "per_device_train_batch_size": 1},
}


@dataclass
class _Step:
    """Sums over the micro-batches of the step that is running."""

    real: int = 0
    total: int = 0
    trained: int = 0
    records: int = 0
    loss: float = 0.0
    counted: list[int] = field(default_factory=list)


class CountingTrainer(SFTTrainer):
    """SFTTrainer that counts what it trains on; the counting itself is a few sums over integers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.step = _Step()
        super().__init__(*args, **kwargs)

    def training_step(self, model: torch.nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """One micro-batch."""
        ids, labels = inputs["input_ids"], inputs["labels"]
        padding_free = "attention_mask" not in inputs
        self.step.real += ids.numel() if padding_free else int(inputs["attention_mask"].sum())
        self.step.total += ids.numel()
        self.step.trained += int((labels[:, 1:] != IGNORED).sum())
        self.step.records += int((inputs["position_ids"] == 0).sum()) if padding_free else ids.shape[0]
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.step.loss += loss.item()  # already a share of the step's mean: TRL divides by the tokens of the whole step
        return loss


class TimedSteps(TrainerCallback):
    """Fills a StepLog from TRL's trainer."""

    def __init__(self, log: StepLog) -> None:
        self.log = log
        self.trainer: CountingTrainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.log.begin()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        step = self.trainer.step
        self.log.add(real=step.real, total=step.total, trained=step.trained, records=step.records, loss=step.loss)
        self.trainer.step = _Step()


def trl_run(run: Run) -> StepLog:
    """Train the records of the first `run.steps` optimizer steps with SFTTrainer."""
    settings, cfg, parts, steps = run.settings, run.cfg, run.parts, run.steps
    options = dict(OPTIONS[settings["variant"]])
    dataset = records_of(run.data, steps)
    options.setdefault("gradient_accumulation_steps", settings["accumulation"])
    if options.get("packing"):
        # a packed row holds several records: as many rows a step as make the same number of records on average
        rows = math.ceil(sum(map(len, dataset["input_ids"])) / cfg.model.max_length)
        options["gradient_accumulation_steps"] = max(1, round(rows / steps))
    options = {"per_device_train_batch_size": settings["micro"], "max_length": cfg.model.max_length, **options}
    options = {"train_sampling_strategy": "sequential", **options}
    dtype = "float32" if settings["variant"] == "trl" else str(parts.weights).removeprefix("torch.")
    args = SFTConfig(
        output_dir=cfg.output_dir,
        num_train_epochs=1,
        learning_rate=cfg.optimizer.lr,
        weight_decay=cfg.optimizer.weight_decay,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=0.03,
        max_grad_norm=cfg.trainer.gradient_clip,
        bf16=parts.precision == "bf16-mixed",
        model_init_kwargs={"dtype": dtype},
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        seed=cfg.seed,
        **options,
    )
    trainer = CountingTrainer(
        model_source(parts.spec, seed=cfg.seed), args, train_dataset=dataset, processing_class=run.tokenizer, peft_config=adapters(parts)
    )
    timing = TimedSteps(StepLog(clock_of(run.settings)))
    timing.trainer = trainer
    trainer.add_callback(timing)
    trainer.train()
    return timing.log


def records_of(data: pl.LightningDataModule, steps: int) -> Dataset:
    """The records of the first steps as token ids and labels, in the order Kinnari trains them."""
    rows = []
    for step in range(steps):
        for record in data.plan.records(step):
            ids, trained = data.train_records[int(record)]
            labels = [int(token) if flag else IGNORED for token, flag in zip(ids, trained, strict=True)]
            rows.append({"input_ids": ids.tolist(), "labels": labels})
    return Dataset.from_list(rows)


def adapters(parts: build.Parts) -> LoraConfig | None:
    """The adapters that Kinnari's tuning has."""
    if parts.tuning.name == "full":
        return None
    tuning, targets = parts.tuning, parts.tuning.targets or parts.spec.lora_targets
    return LoraConfig(r=tuning.r, lora_alpha=tuning.alpha, lora_dropout=tuning.dropout, target_modules=targets, task_type="CAUSAL_LM")
