"""Rates and FLOPs, worked by hand."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest
import torch
from bitsandbytes.nn import Params4bit
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, XLMRobertaConfig, XLMRobertaModel

from kinnari.strategies.throughput import ModelFlops, TokenMeter, forget_peak_memory, model_flops, peak_memory_gib, resident_bytes

HIDDEN, VOCABULARY = 32, 50
# q and o 32 x 32, k and v 32 x 16, three 32 x 48 of the MLP, two norms of 32; and the last norm
BODY = 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48 + 2 * 32) + 32


def llama(tied: bool = False) -> LlamaForCausalLM:
    sizes = {"hidden_size": HIDDEN, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, tie_word_embeddings=tied, **sizes))


def test_rates_are_sums_over_seconds() -> None:
    meter = TokenMeter()
    meter.add(real=60, total=100, trained=20, seconds=2.0)
    meter.add(real=90, total=100, trained=40, seconds=3.0)
    assert meter.tokens_per_second == 30.0
    assert meter.trained_tokens_per_second == 12.0
    assert meter.padding_fraction == 0.25


def test_nothing_measured_gives_zero() -> None:
    meter = TokenMeter()
    assert (meter.tokens_per_second, meter.trained_tokens_per_second, meter.padding_fraction) == (0.0, 0.0, 0.0)


def test_a_meter_goes_on_from_its_state() -> None:
    meter, other = TokenMeter(1, 2, 1, 0.5), TokenMeter()
    other.load_state_dict(meter.state_dict())
    assert other == meter


def test_full_tuning_counts_six_flops_a_parameter() -> None:
    flops = ModelFlops(body=100, trained_body=100, head=10, trained_head=True, checkpointed=False)
    assert flops.useful(real_tokens=7, trained_tokens=3) == 7 * 600 + 3 * 60
    assert flops.executed(7, 3) == flops.useful(7, 3)


def test_a_frozen_base_saves_the_gradients_of_weights_and_checkpointing_computes_again() -> None:
    flops = ModelFlops(body=100, trained_body=4, head=10, trained_head=False, checkpointed=True)
    assert flops.useful(7, 3) == 7 * (400 + 8) + 3 * 40
    assert flops.executed(7, 3) == flops.useful(7, 3) + 7 * 200


def test_mfu_is_flops_over_peak() -> None:
    flops = ModelFlops(body=10**9, trained_body=10**9, head=0, trained_head=True, checkpointed=True)
    meter = TokenMeter(real=1000, total=1000, trained=0, seconds=2.0)
    assert meter.mfu(flops, peak_tflops=30.0) == pytest.approx(0.1)  # 6e12 FLOP in 2 s of 3e13 FLOP/s
    assert meter.hfu(flops, peak_tflops=30.0) == pytest.approx(8 / 60)


@pytest.mark.parametrize("tied", [False, True])
def test_embeddings_are_no_work_and_the_head_is_counted_once(tied: bool) -> None:
    model = llama(tied)
    assert model_flops(model, model) == ModelFlops(
        body=BODY, trained_body=BODY, head=HIDDEN * VOCABULARY, trained_head=True, checkpointed=False
    )


def test_adapters_are_body_and_trained() -> None:
    base = llama()
    base.gradient_checkpointing_enable()
    model = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj"]))
    adapters = 2 * (2 * 32 + 2 * 32)
    expected = ModelFlops(body=BODY + adapters, trained_body=adapters, head=HIDDEN * VOCABULARY, trained_head=False, checkpointed=True)
    assert model_flops(model, model.get_base_model()) == expected


def test_packed_weights_count_as_what_they_hold() -> None:
    model = llama()
    packed = Params4bit(torch.randn(48, 32), requires_grad=False, quant_type="nf4").to("cpu")
    model.model.layers[0].mlp.up_proj.weight = packed
    assert model_flops(model, model).body == BODY


def test_an_encoder_is_all_body() -> None:
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4, "vocab_size": VOCABULARY}
    model = XLMRobertaModel(XLMRobertaConfig(**sizes), add_pooling_layer=False)
    # four 32 x 32 of attention, two 32 x 48 of the MLP, with their biases; two norms of 64, and that of the embeddings
    body = 4 * (32 * 32 + 32) + 32 * 48 + 48 + 48 * 32 + 32 + 2 * 64 + 64
    assert model_flops(model, model) == ModelFlops(body=body, trained_body=body, head=0, trained_head=False, checkpointed=False)


def test_the_estimate_is_near_what_torch_counts() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    model = llama()
    ids = torch.arange(8)[None]
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids, labels=ids).loss.backward()
    # attention scores are left out here and counted there
    assert model_flops(model, model).useful(8, 8) == pytest.approx(counter.get_total_flops(), rel=0.08)


def test_resident_memory_has_the_unit_of_its_system() -> None:
    assert resident_bytes(2048, "linux") == 2 * 2**20
    assert resident_bytes(2048, "darwin") == 2048


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_memory_is_what_the_kernel_says() -> None:
    block = np.ones(2**24)  # 128 MiB
    with open("/proc/self/status", encoding="utf-8") as status:
        kib = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    assert peak_memory_gib(torch.device("cpu")) == pytest.approx(kib / 2**20, rel=0.02)
    assert block.sum() == 2**24


@pytest.mark.skipif(sys.platform != "linux", reason="writes /proc")
def test_the_peak_of_an_earlier_run_can_be_forgotten() -> None:
    if not os.access("/proc/self/clear_refs", os.W_OK):
        pytest.skip("this container does not let a process reset its peak")
    block = np.ones(2**26)  # 512 MiB
    high = peak_memory_gib(torch.device("cpu"))
    del block
    forget_peak_memory()
    assert peak_memory_gib(torch.device("cpu")) < high - 0.4
