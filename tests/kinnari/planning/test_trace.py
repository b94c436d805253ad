"""Steps of few blocks against steps of all of them, and operations against torch's counter over real steps."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from kinnari.functional.labels import shift_targets
from kinnari.models.architectures import kind_of
from kinnari.models.attention import install_attention, kernel
from kinnari.models.backbone import head_of, last_hidden_states
from kinnari.models.toy import build_toy
from kinnari.planning.blueprint import Making, build, shapes_of
from kinnari.planning.estimate import estimate, making, training_step
from kinnari.planning.fake_step import Step, run
from kinnari.planning.request import Freezing, RowTokens
from kinnari.planning.trace import trace
from kinnari.strategies.tuning import Tuning, apply_tuning
from tests.end_to_end.shrunk_models import MODELS, shrunk_spec
from tests.kinnari.planning.real_step import Case
from tests.kinnari.planning.specs import A100, request, spec_of

FULL = Tuning(name="full")
FLOAT32 = Making(weights=torch.float32, trained=torch.float32, compute=torch.float32, fused=True, storage=torch.uint8)
CASES = {
    "full": Case(),
    "recomputed": Case(checkpointing=True, precision="bf16-mixed", accumulated=2),
    "qlora": Case(tuning="qlora"),
    "seq2seq": Case(model="tiny_seq2seq", tuning="lora"),
    "frozen": Case(task="reward"),
}


@pytest.mark.parametrize("name", CASES)
def test_two_and_three_blocks_say_what_five_would(name):
    asked = CASES[name].request
    freezing = asked.freezing if asked.task == "reward" else None
    step, made, shapes = training_step(asked), making(asked), shapes_of(asked.spec, freezing)
    whole = run(build(asked.spec, shapes, asked.tuning, made, freezing), asked.spec, step)
    told = trace(asked.spec, asked.tuning, made, step, "adamw", freezing)
    assert told.flops == sum(whole.flops.values())
    assert max(sum(kinds.values()) for kinds in told.peaks.values()) == pytest.approx(whole.peak(), rel=0.005)


@pytest.mark.parametrize("name", MODELS)
def test_operations_are_those_of_a_real_step(name, monkeypatch):
    """Of every model file at toy size; the real step attends by plain products, which torch counts."""
    spec, rows, width = shrunk_spec(name), 2, 32
    tuned = Tuning(name="lora" if name in ("tiny_causal", "tiny_seq2seq", "bloomz1b1") else "full", r=4)
    work = "reward" if spec.architecture == "encoder" else "sft"
    targets = rows * (width if spec.architecture == "seq2seq" else width - 1)
    step = Step(work=work, rows=rows, width=width, target_width=width, targets=targets)
    planned = trace(spec, tuned, FLOAT32, step, "adamw").flops
    monkeypatch.setattr(kernel, "BLOCK", 10**6)
    model = build_toy(spec, 0)[0]
    install_attention(model, spec.attention)
    model = apply_tuning(model, tuned, spec)
    assert planned == pytest.approx(operations(model, rows, width), rel=0.03)


def operations(model, rows: int, width: int) -> int:
    head = head_of(model)
    ids = torch.full((rows, width), 7)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    added = {torch.ops.aten.addmm_: lambda total, a, b, **_: 2 * a[0] * a[1] * b[1]}  # which torch's table leaves out (2.13)
    with FlopCounterMode(display=False, custom_mapping=added) as counter, sdpa_kernel(SDPBackend.MATH):
        if head is None:
            last_hidden_states(model, head, **inputs).sum().backward()
        else:
            seq2seq = kind_of(model.config) == "seq2seq"
            labels = ids if seq2seq else shift_targets(ids)
            with head.loss_of(labels):
                said = model(**inputs, use_cache=False, **({"decoder_input_ids": ids} if seq2seq else {})).logits
            said[0].backward()
    return counter.get_total_flops()


def test_a_frozen_base_saves_its_weight_gradients_and_recomputation_costs_a_forward():
    """Of 6 P operations a token, LoRA leaves out 2 P; a checkpointed block does 2 P again, without its last product."""
    spec = spec_of("llama7b")
    blocks = 32 * (4 * 4096**2 + 3 * 4096 * 11008)
    step = Step(work="sft", rows=1, width=128, target_width=128, targets=127)
    made = replace(FLOAT32, weights=torch.bfloat16)
    full = trace(spec, FULL, FLOAT32, step, "adamw").flops
    lora = trace(spec, Tuning(name="lora", r=1, targets=["q_proj"]), made, step, "adamw").flops
    again = trace(spec, Tuning(name="full", gradient_checkpointing=True), FLOAT32, step, "adamw").flops
    assert full - lora == pytest.approx(2 * 128 * (blocks + 4096 * 32000), rel=0.03)
    assert again - full == pytest.approx(2 * 128 * (blocks - 32 * 4096 * 11008), rel=0.03)


def test_only_trained_tokens_go_through_the_head():
    spec = spec_of("bloomz560m")
    steps = [Step(work="sft", rows=1, width=256, target_width=256, targets=targets) for targets in (200, 50)]
    flops = [trace(spec, FULL, FLOAT32, step, "adamw").flops for step in steps]
    assert flops[0] - flops[1] == 150 * 3 * 2 * 1024 * 250880


def test_frozen_blocks_below_frozen_embeddings_keep_nothing():
    spec = spec_of("pangu2_6b")
    step = Step(work="reward", rows=4, width=512, target_width=512, targets=1)
    kept = []
    for embeddings in (True, False):
        traced = trace(spec, FULL, FLOAT32, step, "adamw", Freezing(fraction=0.7, train_embeddings=embeddings))
        kept.append(max(kinds.get("activations", 0.0) for kinds in traced.peaks.values()))
    assert kept[1] < 0.5 * kept[0]


def test_a_plan_of_seven_billion_takes_seconds():
    asked = request("llama2_7b", tuning=Tuning(name="qlora", r=9, gradient_checkpointing=True), hardware=A100,
                    precision="bf16-mixed", rows=RowTokens(width=1000), global_size=64)  # fmt: skip
    before = time.process_time()
    estimate(asked)
    assert time.process_time() - before < 5
