"""Before a launch: hopeless runs are refused with what would fit, doubtful ones warned of, small ones not even looked at."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from kinnari.tasks import memory_check
from kinnari.tasks.compose import compose
from kinnari.tasks.estimating import Estimator
from kinnari.tasks.memory_check import DoesNotFit, check_memory, device_memory_gib
from kinnari.text.plan import BatchPlan

# A llama of 3.3 million parameters as its published shapes: without `parameters` nothing but the planner tells that it is small.
SMALL = ["model=llama7b", "model.path=nobody/has-this", "model.parameters=null", "strategy=full", "trainer.precision=32-true",
         "model.config.hidden_size=256", "model.config.intermediate_size=512", "model.config.num_hidden_layers=2",
         "model.config.num_key_value_heads=4", "model.config.num_attention_heads=4", "++model.config.vocab_size=4000"]  # fmt: skip


@pytest.fixture
def memory(monkeypatch):
    def give(gib: float) -> None:
        monkeypatch.setattr(memory_check, "device_memory_gib", lambda cfg: gib)

    return give


def batches(length: int) -> BatchPlan:
    lengths = np.full(16, length)
    return BatchPlan(lengths=lengths, trained_counts=lengths // 2, weights=np.ones(16), global_size=16, micro_size=4, world_size=1,
                     packing="length_grouped", capacity=length, seed=0)  # fmt: skip


def test_a_hopeless_run_is_refused_with_numbers_and_a_way_out(memory):
    memory(0.03)  # weights, gradients and two moments of 3.3 million float32 numbers are 0.05 GiB
    with pytest.raises(DoesNotFit) as refusal:
        check_memory(compose([*SMALL, "model.max_length=64", "packing=length_grouped", "batch.micro_size=1"]))
    told = str(refusal.value)
    assert "model=llama7b with strategy/tuning=full" in told and "optimizer 0.0" in told and "hw=cpu" in told
    assert "plan.enforce=false" in told and "it would fit with strategy/tuning=lora" in told


def test_enforce_false_goes_on_with_a_warning(memory, caplog):
    memory(0.03)
    check_memory(compose([*SMALL, "plan.enforce=false", "model.max_length=64"]))
    assert "It is started all the same" in caplog.text


def test_a_run_that_could_go_on_with_fewer_rows_is_only_warned_of(memory, caplog):
    memory(0.2)
    with caplog.at_level(logging.WARNING):
        check_memory(compose([*SMALL, "batch.micro_size=16", "packing=length_grouped"]), batches(2000))
    assert "batch.micro_size=16 is planned to take" in caplog.text and "would fit" in caplog.text


def test_rows_of_the_data_may_be_too_long_for_even_one(memory):
    memory(0.1)
    check_memory(compose([*SMALL, "packing=length_grouped"]))
    with pytest.raises(DoesNotFit):
        check_memory(compose([*SMALL, "packing=length_grouped"]), batches(4000))


@pytest.mark.parametrize("words", [["model=tiny_causal"], ["model=smollm2_135m"], ["model=xglm7b", "model.shrunk=true"], ["task=inspect"]])
def test_small_models_and_other_tasks_wait_for_nothing(words, monkeypatch):
    def never(*arguments):
        raise AssertionError("estimated")

    monkeypatch.setattr(Estimator, "__call__", never)
    check_memory(compose(words))


def test_a_model_the_planner_does_not_know_is_let_through(memory, monkeypatch, caplog):
    def fails(*arguments):
        raise RuntimeError("no kernel for meta tensors")

    memory(0.001)
    monkeypatch.setattr(Estimator, "__call__", fails)
    check_memory(compose(SMALL))
    assert "could not be planned (RuntimeError: no kernel" in caplog.text


def test_ranks_of_a_cpu_share_its_memory():
    assert device_memory_gib(compose(["hw=cpux2"])) == pytest.approx(device_memory_gib(compose(["hw=cpu"])) / 2, rel=0.01)
    assert device_memory_gib(compose(["hw=cpu"])) > 1
