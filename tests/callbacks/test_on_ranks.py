"""Callbacks that generate, gather or add up, on two gloo ranks: shards or not, the answers are those of one process."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from callbacks import BenchmarkScores, ExportBest, GenerationMetrics, PeakMemory, Progress, SampleAnswers, Throughput
from kinnari.strategies.parallel import build_strategy
from tests.callbacks.conftest import toy_data, toy_llama, toy_lora, toy_module
from tests.callbacks.test_benchmarks import quiz, reading
from tests.distributed import run_ranks

LENGTH = {"max_new_tokens": 6, "batch_size": 2}
METRICS = ("val/rouge1", "val/rouge2", "val/rougeL", "val/rougeLsum", "val/chrf", "benchmark/quiz/accuracy", "benchmark/reading/f1")


def train(strategy: str, tuning: str, world_size: int, folder: str) -> dict[str, Any]:
    """Four steps with everything that communicates, writing to `folder`; the last metrics."""
    rank = int(os.environ.get("RANK", 0))
    chosen = build_strategy(strategy, accelerator="cpu", devices=world_size, precision="32-true", gradient_clip=1.0, timeout_s=60)
    used = Path(folder)
    trainer = pl.Trainer(
        strategy=chosen,
        accelerator="cpu",
        devices=world_size,
        max_steps=4,
        max_epochs=-1,
        val_check_interval=2,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        use_distributed_sampler=False,
        inference_mode=strategy not in ("fsdp", "deepspeed_zero3"),
        callbacks=[
            Progress(every_s=0.0),
            SampleAnswers(used, LENGTH, every_n_steps=1, count=3),
            GenerationMetrics(LENGTH, count=3),
            Throughput(every_n_steps=2, peak_tflops=1.0),
            PeakMemory(every_n_steps=2),
            ExportBest(used / "best"),
            BenchmarkScores([quiz(used), reading(used)], used, every_n_steps=2),
        ],
    )
    module = toy_module(toy_lora() if tuning == "lora" else toy_llama())
    trainer.fit(module, datamodule=toy_data(rank, world_size))
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def exported_logits(folder: Path, tuning: str) -> torch.Tensor:
    path = folder / "best"
    model = PeftModel.from_pretrained(toy_llama(), path) if tuning == "lora" else AutoModelForCausalLM.from_pretrained(path)
    with torch.no_grad():
        return model.eval()(input_ids=torch.tensor([[1, 40, 41, 42]])).logits


def benchmarks(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "benchmarks.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def samples(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "tuning"), [("ddp", "lora"), ("fsdp", "lora"), ("deepspeed_zero3", "full")])
def test_two_ranks_answer_export_and_measure_as_one_process(strategy: str, tuning: str, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    alone = train("single", tuning, 1, str(one))
    first, second = run_ranks(train, 2, strategy, tuning, 2, str(two), timeout_s=120)
    for name in ("val/loss", "train/loss"):
        assert first[name] == pytest.approx(alone[name], rel=1e-4, abs=1e-6)
    for name in METRICS:  # the same answers, scored together: not a bit of difference
        assert first[name] == alone[name]
    together = ("train/tokens_per_second", "train/padding_fraction", "train/mfu", "peak_memory_gib", *METRICS)
    assert {name: first[name] for name in together} == {name: second[name] for name in together}
    assert [row["answer"] for row in samples(two)] == [row["answer"] for row in samples(one)]
    assert benchmarks(two) == benchmarks(one) and [row["step"] for row in benchmarks(one)] == [0, 2, 4]
    torch.testing.assert_close(exported_logits(two, tuning), exported_logits(one, tuning), rtol=1e-3, atol=1e-3)
