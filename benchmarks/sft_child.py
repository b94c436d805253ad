"""One variant of `benchmarks/sft.py`, measured in this process: Kinnari's own run, or a bare PyTorch loop on its batches.

python benchmarks/sft_child.py '<settings as json>'       # prints one line of json last
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from omegaconf import DictConfig

from kinnari.functional.labels import shift_targets
from kinnari.models.packing import packed_inputs
from kinnari.strategies.optimizer_step import seed_step
from kinnari.strategies.throughput import peak_memory_gib
from kinnari.tasks import build
from kinnari.tasks.compose import compose
from kinnari.tasks.logs import ignore_known_warnings
from kinnari.tasks.recorder import RunRecorder
from kinnari.tasks.training import build_trainer
from kinnari.text.batches import Batch, padding_fraction


@dataclass
class StepLog:
    """What the optimizer steps of one run took and trained; the first step warms up and is left out of the rates.

    Args:
        now: seconds since some moment.
        idle_gib: high-water mark of memory with libraries, data and weights, before the first step.
    """

    now: Callable[[], float]
    idle_gib: float = field(default_factory=lambda: peak_memory_gib(torch.device("cpu")))
    seconds: list[float] = field(default_factory=list)
    real: list[int] = field(default_factory=list)
    total: list[int] = field(default_factory=list)
    trained: list[int] = field(default_factory=list)
    records: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    _last: float = 0.0

    def begin(self) -> None:
        """The first step starts now; each later one starts where the one before ended."""
        self._last = self.now()

    def add(self, *, real: int, total: int, trained: int, records: int, loss: float) -> None:
        """A step has ended."""
        now = self.now()
        self.seconds.append(now - self._last)
        self._last = now
        self.real.append(real)
        self.total.append(total)
        self.trained.append(trained)
        self.records.append(records)
        self.losses.append(loss)

    def result(self) -> dict[str, Any]:
        """The row of the table; memory is the high-water mark of this process, libraries and weights included."""
        seconds = sum(self.seconds[1:])
        peak = peak_memory_gib(torch.device("cpu"))
        return {
            "trained_per_second": sum(self.trained[1:]) / seconds,
            "real_per_second": sum(self.real[1:]) / seconds,
            "step_seconds": seconds / len(self.seconds[1:]),
            "padding": 1.0 - sum(self.real[1:]) / sum(self.total[1:]),
            "peak_gib": peak,
            "step_gib": peak - self.idle_gib,
            "steps": len(self.seconds),
            "records": sum(self.records),
            "trained": sum(self.trained),
            "losses": self.losses,
        }


class TimedSteps(pl.Callback):
    """Fills a StepLog from Kinnari's trainer."""

    def __init__(self, steps: StepLog) -> None:
        self.steps = steps  # not `self.log`: Lightning sets that name to the module's own `log`

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.steps.begin()

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: list[Batch], index: int) -> None:
        self.steps.add(**step_counts(batch), loss=module.tuning.last.loss)


def step_counts(batches: list[Batch]) -> dict[str, int]:
    """Tokens and records of one step."""
    real, total = padding_fraction(batches)
    records = sum(len(batch["record_ids"]) for batch in batches)
    return {"real": real, "total": total, "trained": batches[0]["step_tokens"], "records": records}


def config(settings: dict[str, Any], folder: str) -> DictConfig:
    """The run that all variants do: Kinnari's defaults without samples, validation and checkpoints, at a constant rate."""
    data = ["data=[chatterbot]"] if settings["data"] is None else ["data=[alpaca]", f"data.alpaca.path={settings['data']}"]
    return compose([
        f"model={settings['model']}",
        f"model.max_length={settings['max_length']}",
        f"strategy/tuning={settings['tuning']}",
        f"trainer.precision={settings['precision']}",
        f"trainer.max_steps={settings['steps'] + 1}",
        f"batch.micro_size={settings['micro']}",
        f"batch.global_size={settings['micro'] * settings['accumulation']}",
        f"seed={settings['seed']}",
        f"output_dir={folder}",
        "scheduler=constant",
        "held_out.fraction=0",
        "task.samples=0",
        "callbacks=[progress,throughput,peak_memory]",
        *data,
        *settings["override"],
    ])  # fmt: skip


def clock_of(settings: dict[str, Any]) -> Callable[[], float]:
    """Wall-clock seconds, or processor seconds over threads: what the wall clock would show if nobody else used the machine."""
    if settings["clock"] == "wall":
        return time.perf_counter
    return lambda: time.process_time() / settings["threads"]


@dataclass(frozen=True)
class Run:
    """What every variant starts from."""

    settings: dict[str, Any]
    cfg: DictConfig
    parts: build.Parts
    tokenizer: Any
    data: pl.LightningDataModule
    steps: int

    def model(self) -> Any:
        """The model that Kinnari would train."""
        return build.tuned_model(self.cfg, self.parts, self.tokenizer)


def prepare(settings: dict[str, Any], folder: str) -> Run:
    """Config, tokenizer and tokenised records."""
    cfg = config(settings, folder)
    parts, tokenizer = build.parts(cfg), build.tokenizer(cfg)
    data = build.datamodule(cfg, tokenizer)
    data.setup()
    return Run(settings, cfg, parts, tokenizer, data, min(cfg.trainer.max_steps, data.plan.steps_per_epoch))


def ours(run: Run) -> StepLog:
    """The same parts in the same trainer as `python launch.py`."""
    module = build.lightning_module(run.cfg, run.parts, run.model(), build.fine_tuning_settings(run.cfg, run.parts, run.steps))
    trainer = build_trainer(run.cfg, run.parts, RunRecorder(None), run.steps, run.data.plan.steps_per_epoch)
    log = StepLog(clock_of(run.settings))
    trainer.callbacks.append(TimedSteps(log))
    trainer.fit(module, datamodule=run.data)
    return log


def bare(run: Run, selected: bool) -> StepLog:
    """A plain loop over the batches that `ours` trains on: no Lightning, no loss head, PEFT's own LoRA layers.

    Args:
        selected: only trained positions go through the language-model head; else transformers' own loss on all of them.
    """
    cfg, parts, steps = run.cfg, run.parts, run.steps
    settings = build.fine_tuning_settings(cfg, parts, steps)
    model = run.model().train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = settings.optimizer(parameters)
    scheduler = settings.scheduler(optimizer, total_steps=steps)
    loss_of = selected_loss if selected else transformers_loss
    log = StepLog(clock_of(run.settings))
    log.begin()
    for step, batches in enumerate(run.data.train_dataloader()):
        if step == steps:
            break
        seed_step(cfg.seed, step, rank=0)  # as ours does, so both draw the same dropout
        loss = 0.0
        for batch in batches:
            inputs = model_inputs(batch, parts, model)
            with torch.autocast("cpu", parts.compute, enabled=parts.precision.endswith("mixed")):
                part = loss_of(model, batch, inputs)
            part.backward()
            loss += part.item()
        torch.nn.utils.clip_grad_norm_(parameters, settings.gradient_clip)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad(set_to_none=True)
        log.add(**step_counts(batches), loss=loss)
    return log


def model_inputs(batch: Batch, parts: build.Parts, model: torch.nn.Module) -> dict[str, Any]:
    """What a transformers model needs for this micro-batch, packed or not."""
    inputs = {"attention_mask": batch["attention_mask"], "use_cache": False}
    if "segment_ids" in batch:
        attention = model.config._attn_implementation
        inputs = packed_inputs(batch["position_ids"], batch["segment_ids"], parts.spec.packing, attention, model.dtype)
    return {"input_ids": batch["input_ids"], **inputs}


def transformers_loss(model: torch.nn.Module, batch: Batch, inputs: dict[str, Any]) -> torch.Tensor:
    """Logits of all positions in float32, cross entropy summed over trained ones, divided by those of the whole step."""
    return model(**inputs, labels=batch["labels"], num_items_in_batch=torch.tensor(batch["step_tokens"])).loss


def selected_loss(model: torch.nn.Module, batch: Batch, inputs: dict[str, Any]) -> torch.Tensor:
    """The same loss from the logits of trained positions alone."""
    causal = model.get_base_model() if "PeftModel" in type(model).__name__ else model
    hidden = causal.base_model(**inputs).last_hidden_state
    targets = shift_targets(batch["labels"])
    trained = targets != -100
    logits = causal.get_output_embeddings()(hidden[trained]).float()
    return F.cross_entropy(logits, targets[trained], reduction="sum") / batch["step_tokens"]


def main() -> None:
    settings = json.loads(sys.argv[1])
    if settings["variant"].startswith("trl") or any(name.startswith("trl") for name in settings["variants"]):
        import trl  # noqa: F401 - in every process of a comparison, so that all hold the same libraries in memory
    torch.set_num_threads(settings["threads"])
    ignore_known_warnings()
    with tempfile.TemporaryDirectory() as folder:
        run = prepare(settings, folder)
        if settings["variant"] == "ours":
            log = ours(run)
        elif settings["variant"].startswith("bare"):
            log = bare(run, selected=settings["variant"] == "bare_selected")
        else:
            from sft_trl import trl_run

            log = trl_run(run)
        print(json.dumps(log.result()))


if __name__ == "__main__":
    main()
