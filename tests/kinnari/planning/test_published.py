"""Figures that others published for real cards, each with its source, its tolerance, and what is known of the rest.

What they name "memory" differs: torchtune and LitGPT report the allocator's highest reservation, in which no context of the driver is.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from kinnari.planning.estimate import estimate
from kinnari.planning.request import GIB, Estimate, Freezing, Parallel, PlanRequest, RowTokens
from kinnari.strategies.tuning import Tuning
from tests.kinnari.planning.specs import A100, V100, request, spec_of

RTX4090 = replace(A100, memory_gib=24, bandwidth_gb_s=1008, peak_tflops=165.2)
ALPACA_LORA = ["q_proj", "v_proj", "o_proj"]


def allocated(told: Estimate) -> float:
    """GiB without the driver's context, as torch's allocator counts."""
    return told.peak_memory_gib - told.memory_gib["context"]


# --- fits or does not --------------------------------------------------------------------------------------------------


def wangchanglm(**changes) -> PlanRequest:
    """pythainlp/WangChanGLM: XGLM-7.5B, LoRA r 128 on six layers of a block, int8 base, V100 of 32 GB, micro-batch 1."""
    targets = ["q_proj", "v_proj", "k_proj", "out_proj", "fc1", "fc2"]
    tuning = Tuning(name="lora_int8", r=128, alpha=32, dropout=0.05, targets=targets, gradient_checkpointing=True)
    settings = {"tuning": tuning, "hardware": V100, "rows": RowTokens(width=512), "micro_size": 1, "precision": "16-mixed"}
    return request("xglm7b", **(settings | changes))


def test_wangchanglm_fits_on_a_v100_and_in_float32_it_would_not():
    told = estimate(wangchanglm(global_size=64))
    assert told.peak_memory_gib < 0.9 * 32
    assert told.trainable_parameters == 32 * 128 * (4 * 2 * 4096 + 2 * (4096 + 16384)) == 301_989_888
    wide = wangchanglm(tuning=Tuning(name="lora", r=128), spec=spec_of("xglm7b", dtype="float32"))
    assert estimate(wide).peak_memory_gib > 32


def llama_on_a100s(**changes) -> PlanRequest:
    """tatsu-lab/stanford_alpaca: LLaMA-7B, all parameters, FSDP over 4 A100 of 80 GB, bf16, 4 rows of 512 each, accumulation 8."""
    settings = {"parallel": Parallel("fsdp"), "hardware": replace(A100, devices=4), "rows": RowTokens(width=512), "micro_size": 4,
                "global_size": 128, "precision": "bf16-mixed"}  # fmt: skip
    return request("llama7b", **(settings | changes))


def test_alpaca_fits_on_four_a100_and_not_on_one():
    assert estimate(llama_on_a100s()).peak_memory_gib < 0.9 * 80
    assert estimate(llama_on_a100s(parallel=Parallel("single"), hardware=A100)).peak_memory_gib > 80


def test_qlora_of_65_billion_fits_on_48_gb_and_lora_does_not():
    """QLoRA, arXiv:2305.14314, abstract and appendix B: r 64 on all layers, rows of 512, one at a time, paged optimizer."""
    tuning = Tuning(name="qlora", r=64, targets="all-linear", gradient_checkpointing=True)
    card = replace(A100, memory_gib=48)
    asked = request("llama65b", tuning=tuning, hardware=card, rows=RowTokens(width=512), micro_size=1, global_size=16,
                    precision="bf16-mixed", optimizer="paged_adamw")  # fmt: skip
    told = estimate(asked)
    assert told.peak_memory_gib < 48
    assert told.host_gib < 1, "the state pages out next to nothing"
    assert estimate(replace(asked, tuning=replace(tuning, name="lora"), optimizer="adamw")).peak_memory_gib > 120


# --- gigabytes ---------------------------------------------------------------------------------------------------------


def torchtune(**changes) -> PlanRequest:
    """pytorch/torchtune README: Llama-3.1-8B on one RTX 4090, 2 rows packed to 2048, bf16 throughout, activations checkpointed."""
    settings = {"hardware": RTX4090, "rows": RowTokens(width=2048, packed=True), "precision": "bf16-true"}
    return request("llama3_1_8b", **(settings | changes))


@pytest.mark.parametrize(("name", "published"), [("qlora", 7.4), ("lora", 16.2)])
def test_torchtunes_adapters(name, published):
    """Off by what their compiler fuses: our chunked loss holds a gradient of all 4096 hidden states, for one."""
    told = estimate(torchtune(tuning=Tuning(name=name, r=8, targets=ALPACA_LORA, gradient_checkpointing=True)))
    assert allocated(told) == pytest.approx(published, rel=0.07)


def test_torchtunes_full_tuning_steps_within_the_backward():
    """18.9 GiB: their recipe steps the optimizer as soon as a gradient is there, so that none but the largest lives; ours keeps all 15 GiB
    of them. Its 8-bit state is paged and not the allocator's.
    """
    tuning = Tuning(name="full", gradient_checkpointing=True)
    told = estimate(torchtune(tuning=tuning, optimizer="paged_adamw_8bit", hardware=replace(RTX4090, memory_gib=1)))
    whole = 2 * told.total_parameters / GIB
    assert told.memory_gib["gradients"] + told.memory_gib["temporaries"] >= whole
    largest = 2 * 128256 * 4096 / GIB
    assert allocated(told) - told.memory_gib["gradients"] + largest == pytest.approx(18.9, rel=0.12)


def stablelm(name: str, dtype: str, precision: str, double_quant: bool = True) -> float:
    """Lightning-AI/litgpt, tutorials/finetune_lora.md: StableLM-base-alpha-3B (GPT-NeoX), LoRA r 8 on the query, key and value product."""
    own = {"hidden_size": 4096, "num_hidden_layers": 16, "num_attention_heads": 32, "intermediate_size": 16384, "vocab_size": 50688,
           "rotary_pct": 0.25}  # fmt: skip
    neox = spec_of("polyglot_ko_1_3b")
    spec = replace(neox, config=dict(neox.config or {}) | own, parameters=None, dtype=dtype)
    tuning = Tuning(name=name, r=8, targets=["query_key_value"], double_quant=double_quant)
    asked = request(spec, tuning=tuning, hardware=replace(A100, memory_gib=40), rows=RowTokens(width=256), micro_size=4, global_size=128,
                    precision=precision)  # fmt: skip
    return allocated(estimate(asked)) * GIB / 1e9


def test_litgpts_ladder():
    """26.9 -> 9.7 -> 6.35 -> 6.19 GB. The rungs above 4 bits are met; the 4-bit ones are 1.7 GB lower here, where the base is 2.5 GB and
    nothing else differs from the rung above: theirs holds that much more than its weights, which the tutorial does not explain.
    The saving of double quantisation is met.
    """
    mixed, true = stablelm("lora", "float32", "bf16-mixed"), stablelm("lora", "auto", "bf16-true")
    nf4, double = (stablelm("qlora", "auto", "bf16-true", double_quant=double) for double in (False, True))
    assert true == pytest.approx(9.7, rel=0.06)
    assert mixed == pytest.approx(26.9, rel=0.15)
    assert nf4 - double == pytest.approx(6.35 - 6.19, rel=0.15)
    assert mixed > true > nf4 > double


def pangu(**changes) -> PlanRequest:
    """sunzeyeah/RLHF README: Pangu-2.6B on one A100 of 80 GB, 8 rows of 512; attention there stores every score."""
    settings = {"hardware": A100, "rows": RowTokens(width=512), "micro_size": 8, "global_size": 8, "precision": "bf16-mixed"}
    return request(spec_of("pangu2_6b", attention="eager"), **(settings | changes))


def test_pangus_reward_model_fills_the_card_as_published():
    """80.7 GB, 815M of 2.6B parameters trained: its frozen blocks keep activations, since the embeddings below are trained."""
    told = estimate(pangu(task="reward"))
    assert told.trainable_parameters == pytest.approx(815e6, rel=0.001)
    assert told.peak_memory_gib * GIB / 1e9 == pytest.approx(80.7, rel=0.07)


def test_pangus_fine_tuning_keeps_16_bytes_a_parameter_beside_a_step():
    """The published 79.4 GB are what a card showed that a caching allocator fills, and with which settings is not said: with whole logits
    and stored scores 73 GB are planned, with the chunked loss 66, recomputed with a paged optimizer 30. So what is certain is compared.
    """
    told = estimate(pangu(chunked_loss=False))
    assert told.peak_memory_gib * GIB / 1e9 < 79.4
    states = told.memory_gib["weights"] + told.memory_gib["optimizer"] + 4 * told.trainable_parameters / GIB
    assert states == pytest.approx(16 * 2_625_295_360 / GIB, rel=0.001)


def test_freezing_the_embeddings_too_would_have_halved_it():
    told, frozen = (estimate(pangu(task="reward", freezing=Freezing(train_embeddings=below))) for below in (True, False))
    assert frozen.peak_memory_gib < 0.55 * told.peak_memory_gib
