"""Benchmarks in training: the numbers of the weights as they are, told everywhere, and training goes on as if nothing had been asked."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger

from callbacks import BenchmarkScores, Throughput
from kinnari.errors import ConfigError
from kinnari.evaluation.benchmarks import CMRC2018, Benchmark, MultipleChoice
from kinnari.evaluation.examinee import Examinee, examination
from kinnari.models.toy import byte_tokenizer
from kinnari.strategies.parallel import build_strategy
from tests.callbacks.conftest import TEMPLATE, Fit, toy_data, toy_llama, toy_lora, toy_module
from tests.distributed import run_ranks

WORDS = ("one", "two", "three", "four")


def quiz(folder: Path, **settings: Any) -> MultipleChoice:
    rows = [{"question": f"Say {WORDS[i % 4]}.", "choices": list(WORDS), "answer": i % 4} for i in range(12)]
    (folder / "dev.json").write_text("\n".join(map(json.dumps, rows)))
    given = {"name": "quiz", "data_dir": str(folder), "template": "{question} {label}", "answer": "answer", "choices": "choices"}
    return MultipleChoice(**given | settings)


def reading(folder: Path) -> CMRC2018:
    asked = [{"id": str(i), "question": "谁?", "answers": [{"text": "a"}]} for i in range(3)]
    (folder / "cmrc2018_dev.json").write_text(json.dumps({"data": [{"paragraphs": [{"context": "文", "qas": asked}]}]}))
    return CMRC2018(name="reading", data_dir=str(folder), file="cmrc2018_dev.json", max_new_tokens=3)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "benchmarks.jsonl").read_text().splitlines()]


def test_it_asks_before_every_n_steps_and_after(fit: Fit, tmp_path: Path) -> None:
    trainer = fit(BenchmarkScores([quiz(tmp_path)], tmp_path, every_n_steps=2), steps=5)
    assert [line["step"] for line in lines(tmp_path)] == [0, 2, 4, 5]
    assert all(line["benchmark/quiz/n"] == 12 for line in lines(tmp_path))
    assert float(trainer.callback_metrics["benchmark/quiz/accuracy"]) == pytest.approx(lines(tmp_path)[-1]["benchmark/quiz/accuracy"])


def test_start_and_end_may_be_left_out(fit: Fit, tmp_path: Path) -> None:
    fit(BenchmarkScores([quiz(tmp_path)], tmp_path, every_n_steps=2, at_start=False, at_end=False), steps=3)
    assert [line["step"] for line in lines(tmp_path)] == [2]


def test_a_training_item_of_several_steps_is_scored_once_at_its_end(tmp_path: Path) -> None:
    callback = BenchmarkScores([], tmp_path, every_n_steps=4)
    scored: list[int] = []
    callback.score = lambda trainer, module: scored.append(trainer.global_step)  # type: ignore[method-assign]
    trainer: Any = type("Trainer", (), {"global_step": 0})()
    callback._seen = 0
    for step in (3, 6, 7, 13, 15, 16):
        trainer.global_step = step
        callback.on_train_batch_end(trainer, None, None, None, 0)  # type: ignore[arg-type]
    assert scored == [6, 13, 16]


@pytest.mark.parametrize("chat", [False, True])
def test_the_numbers_are_those_of_the_trained_weights(fit: Fit, tmp_path: Path, chat: bool) -> None:
    benchmark, model = quiz(tmp_path), toy_llama()
    fit(BenchmarkScores([benchmark], tmp_path, every_n_steps=4, chat=chat), model=model)
    exam = examination(benchmark, byte_tokenizer(), None)
    outcome = Examinee(model=model, tokenizer=byte_tokenizer(), template=TEMPLATE if chat else None, seed=42).sit(exam)
    last = lines(tmp_path)[-1]
    assert last["step"] == 4 and last["benchmark/quiz/accuracy"] == outcome.numbers["accuracy"]
    assert last["benchmark/quiz/stderr"] == outcome.numbers["stderr"]


def test_every_logger_has_them(fit: Fit, tmp_path: Path) -> None:
    loggers = [CSVLogger(tmp_path, name=name, version="") for name in ("first", "second")]
    fit(BenchmarkScores([quiz(tmp_path), reading(tmp_path)], tmp_path, every_n_steps=3), logger=loggers, steps=3)
    for logger in loggers:
        logger.save()
        text = (Path(logger.log_dir) / "metrics.csv").read_text()
        for name in ("quiz/accuracy", "quiz/stderr", "quiz/n", "reading/exact_match", "reading/f1"):
            assert f"benchmark/{name}" in text


@pytest.mark.parametrize("make", [toy_lora, toy_llama])
def test_training_is_the_same_with_and_without(fit: Fit, tmp_path: Path, make: Any) -> None:
    plain, asked = make(), make()
    asked.load_state_dict(plain.state_dict())
    modes: list[bool] = []

    class Modes(pl.Callback):
        def on_train_batch_start(self, trainer: Any, module: Any, *rest: Any) -> None:
            modes.append(all(part.training for part in module.model.modules()))

    torch.manual_seed(0)
    fit(model=plain)
    after = torch.rand(3)
    torch.manual_seed(0)
    fit(BenchmarkScores([quiz(tmp_path), reading(tmp_path)], tmp_path, every_n_steps=1, chat=True), Modes(), model=asked)
    assert torch.equal(torch.rand(3), after) and all(modes)
    assert all(torch.equal(a, b) for a, b in zip(plain.state_dict().values(), asked.state_dict().values(), strict=True))


def test_a_missing_file_is_told_before_the_first_step(fit: Fit, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.json does not exist"):
        fit(BenchmarkScores([quiz(tmp_path, file="nowhere.json")], tmp_path))


@pytest.mark.parametrize("first", [True, False])
def test_its_time_is_no_training_time(fit: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bool) -> None:
    seconds: list[float] = []
    monkeypatch.setattr(Examinee, "sit", lambda self, exam: time.sleep(0.5))
    monkeypatch.setattr(BenchmarkScores, "_tell", lambda *told: None)
    monkeypatch.setattr(Throughput, "_values", lambda self, trainer: seconds.append(self.meter.seconds) or {})
    pair = [BenchmarkScores([quiz(tmp_path)], tmp_path, every_n_steps=1), Throughput(every_n_steps=1)]
    fit(*(pair if first else pair[::-1]), steps=3)
    assert len(seconds) == 3 and max(seconds) < 0.45


def scores_on(strategy: str, ranks: int, folder: str) -> dict[str, float]:
    """Metrics of four steps, with a benchmark of choices and one of reading."""
    rank, used = int(os.environ.get("RANK", 0)), Path(folder)
    asked: list[Benchmark] = [quiz(used), reading(used)]
    trainer = pl.Trainer(
        strategy=build_strategy(strategy, accelerator="cpu", devices=ranks, precision="32-true", gradient_clip=1.0, timeout_s=60),
        accelerator="cpu", devices=ranks, max_steps=4, max_epochs=-1, check_val_every_n_epoch=None, num_sanity_val_steps=0,
        logger=False, enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False, use_distributed_sampler=False,
        limit_val_batches=0, callbacks=[BenchmarkScores(asked, used, every_n_steps=2)],
    )  # fmt: skip
    trainer.fit(toy_module(toy_llama()), datamodule=toy_data(rank, ranks))
    return {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith(("benchmark/", "train/loss"))}


@pytest.mark.slow
def test_two_ranks_of_zero_2_say_what_one_process_does(tmp_path: Path) -> None:
    """The other strategies are in test_on_ranks.py."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    alone = scores_on("single", 1, str(tmp_path / "one"))
    first, second = run_ranks(scores_on, 2, "deepspeed_zero2", 2, str(tmp_path / "two"), timeout_s=180)
    assert first == second and first.keys() == alone.keys()
    assert first == {name: pytest.approx(value, rel=1e-4) for name, value in alone.items()}
