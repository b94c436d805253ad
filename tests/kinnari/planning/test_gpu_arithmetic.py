"""What attention keeps on a GPU, and what autocast widens there."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kinnari.planning.estimate import making, training_step
from kinnari.planning.request import Hardware, RowTokens
from kinnari.planning.trace import trace
from kinnari.strategies.tuning import Tuning
from tests.kinnari.planning.specs import A100, V100, request, spec_of


def kept(spec, width: int, hardware: Hardware, packed: bool = False) -> float:
    """Bytes of activations at the head."""
    precision = "bf16-mixed" if hardware.flash_attention else "16-mixed"
    asked = request(spec, hardware=hardware, precision=precision, rows=RowTokens(width=width, packed=packed, trained_share=0.01))
    return trace(spec, asked.tuning, making(asked), training_step(asked), "adamw").peaks["head"]["activations"]


@pytest.mark.parametrize("hardware", [V100, A100], ids=["efficient", "flash"])
def test_fused_attention_grows_with_the_length_and_not_with_its_square(hardware):
    spec = spec_of("xglm564m")
    assert kept(spec, 2048, hardware) == pytest.approx(2 * kept(spec, 1024, hardware), rel=0.12)


def test_eager_attention_stores_every_score():
    """Softmax in float32 under autocast: scores, weights and what dropout keeps, 16 heads x T x T in each of 24 blocks."""
    spec = replace(spec_of("xglm564m"), attention="eager")
    more = kept(spec, 1024, A100) - kept(spec_of("xglm564m"), 1024, A100)
    assert more > 24 * 2 * 16 * 1024**2 * (4 + 2)


def test_layer_norms_are_widened_by_autocast_on_a_gpu_alone():
    spec = spec_of("xglm564m")
    on_gpu, on_cpu = kept(spec, 512, A100), kept(spec, 512, replace(A100, accelerator="cpu"))
    # two norms a block and the last one put out float32 where the CPU puts out what it was given
    assert on_gpu > on_cpu


def test_8_bit_products_are_those_of_cuda():
    """LLM.int8 on CUDA keeps its input in float16; the CPU's product keeps the input as it came."""
    spec = spec_of("xglm564m")
    tuning = Tuning(name="lora_int8", r=4)
    asked = request(spec, tuning=tuning, hardware=V100, precision="16-mixed")
    steps = [training_step(asked), replace(training_step(asked), gpu=False)]
    activations = [trace(spec, tuning, making(asked), step, "adamw").peaks["head"]["activations"] for step in steps]
    assert activations[0] != activations[1]


def test_functions_are_put_back():
    from torch.nn import functional as F

    before = F.layer_norm, F.scaled_dot_product_attention
    kept(spec_of("tiny_causal"), 64, V100)
    assert (F.layer_norm, F.scaled_dot_product_attention) == before
    assert torch.get_autocast_dtype("cpu") == torch.bfloat16
