"""Throughput: what is counted is what is in the batches."""

from __future__ import annotations

import time

import pytest
import pytorch_lightning as pl

from callbacks import PeakMemory, Throughput
from kinnari.text.batches import padding_fraction
from tests.callbacks.conftest import Fit, toy_llama


class Recorded(pl.Callback):
    """Logged values after every step, and the step's batches."""

    def __init__(self) -> None:
        self.values: list[dict[str, float]] = []
        self.batches: list = []

    def on_train_batch_end(self, trainer, module, outputs, batch, index) -> None:
        self.values.append({name: float(value) for name, value in trainer.callback_metrics.items()})
        self.batches.append(batch)


def test_values_are_logged_over_every_window(fit: Fit) -> None:
    recorded = Recorded()
    fit(Throughput(every_n_steps=2, peak_tflops=1.0), recorded)
    assert "train/mfu" not in recorded.values[0]
    counts = [padding_fraction(batch) for batch in recorded.batches]
    for end in (2, 4):
        real, total = map(sum, zip(*counts[end - 2 : end], strict=True))
        values = recorded.values[end - 1]
        assert values["train/padding_fraction"] == pytest.approx(1 - real / total)
        trained = sum(batch[0]["step_tokens"] for batch in recorded.batches[end - 2 : end])
        ratio = values["train/tokens_per_second"] / values["train/trained_tokens_per_second"]
        assert ratio == pytest.approx(real / trained, rel=1e-5)
        assert 0 < values["train/mfu"] < 1


def test_without_a_peak_there_is_no_mfu_and_hfu_needs_checkpointing(fit: Fit) -> None:
    assert not {"train/mfu", "train/hfu"} & fit(Throughput(every_n_steps=1)).callback_metrics.keys()
    assert "train/hfu" not in fit(Throughput(every_n_steps=1, peak_tflops=1.0)).callback_metrics
    model = toy_llama()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    metrics = fit(Throughput(every_n_steps=1, peak_tflops=1.0), model=model).callback_metrics
    assert metrics["train/hfu"] > metrics["train/mfu"]


def test_validation_is_no_training_time(fit: Fit) -> None:
    class SlowValidation(pl.Callback):
        def on_validation_start(self, *arguments: object) -> None:
            time.sleep(0.5)

    recorded = Recorded()
    fit(Throughput(every_n_steps=1), SlowValidation(), recorded, val_check_interval=1)
    rates = [values["train/tokens_per_second"] for values in recorded.values]
    seconds = [padding_fraction(b)[0] / rate for b, rate in zip(recorded.batches, rates, strict=True)]
    assert max(seconds[1:]) < 0.5


def test_peak_memory_is_logged_and_never_falls(fit: Fit) -> None:
    recorded = Recorded()
    fit(PeakMemory(every_n_steps=1), recorded)
    peaks = [values["peak_memory_gib"] for values in recorded.values]
    assert peaks == sorted(peaks)
    assert 0.05 < peaks[0] < 64
