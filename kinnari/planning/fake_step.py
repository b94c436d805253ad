"""One real forward and backward of a blueprint on fake tensors: the shapes, dtypes and lifetimes of the run, without a number computed."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import EncoderDecoderCache

from kinnari.functional.labels import shift_targets
from kinnari.models.attention import kernel
from kinnari.models.backbone import hidden_size_of, last_hidden_states
from kinnari.models.dropout import train_without_dropout
from kinnari.models.head import base_model_of, read_answers
from kinnari.models.packing import packed_inputs
from kinnari.models.scalar_head import ScalarHead
from kinnari.models.shared_prefix import SharedRows, shared_inputs
from kinnari.models.spec import ModelSpec
from kinnari.planning.blueprint import Blueprint
from kinnari.planning.fake_module import make_fake, scales_in
from kinnari.planning.gpu_arithmetic import gpu_arithmetic, replaced
from kinnari.planning.live_bytes import LiveBytes

Work = Literal["sft", "reward", "ppo", "score", "prefill"]
"""sft, reward, ppo: a training step; score: hidden states without a gradient; prefill: the same with a cache."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """What is computed.

    Attributes:
        work: kind of step.
        rows, width: of a micro-batch; of pairs two rows each.
        target_width: of the decoder's rows, for seq2seq.
        targets: positions with a target in the micro-batch.
        packed: rows hold several records.
        shared: rows hold pairs, what they begin with once, under a mask of their own.
        micro_batches: 1, or 2 for a step that accumulates more than one: from the second on gradients are there already.
        autocast: dtype of mixed precision; None for none.
        chunked_loss: as in the run.
        gpu: arithmetic of a CUDA device; else of the CPU.
        flash: whether it has the flash kernel.
        entropy_gradient, second_forward, with_data: of task=ppo: an entropy bonus, a critic of its own, the loss of the data's answers.
    """

    work: Work
    rows: int
    width: int
    target_width: int
    targets: int
    packed: bool = False
    shared: bool = False
    micro_batches: int = 1
    autocast: torch.dtype | None = None
    chunked_loss: bool = True
    gpu: bool = False
    flash: bool = False
    entropy_gradient: bool = False
    second_forward: bool = False
    with_data: bool = False


def run(blueprint: Blueprint, spec: ModelSpec, step: Step, critic: Blueprint | None = None) -> LiveBytes:
    """Live bytes of `step`; the blueprints' parameters become fake and they cannot be used again.

    Args:
        critic: of task=ppo, where it is a model of its own; of adapters on the policy's backbone only these count.
    """
    live = LiveBytes(rows_with_target=step.targets)
    size = hidden_size_of(blueprint.model, blueprint.head)
    with torch.device("meta"):
        scalar = ScalarHead(size, zero=True) if step.work in ("reward", "ppo") else None
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    whole = nn.ModuleList([blueprint.model] if scalar is None else [blueprint.model, scalar])
    for module in (whole,) if critic is None else (whole, critic.model):
        make_fake(module, fake)
        live.hold(module, _kind_of, trained_alone=module is not whole)
    for scales in scales_in(whole):
        live.count(scales, "weights")
    _mark_parts(blueprint, live)
    with ExitStack() as stack:
        stack.enter_context(fake)
        stack.enter_context(live)
        # which keys a block of queries sees depends on values: all that are not later
        stack.enter_context(replaced(kernel, "_visible_keys", lambda mask: (0, mask.shape[-1])))
        if step.gpu:
            stack.enter_context(gpu_arithmetic(live, flash=step.flash))
        if step.autocast is not None:  # without its cache, as Lightning's MixedPrecision (2.6) has it
            stack.enter_context(torch.autocast("cpu", dtype=step.autocast, cache_enabled=False))
        if step.work in ("score", "prefill"):
            _without_gradient(blueprint, step, live)
        else:
            for _ in range(step.micro_batches):
                _micro_batch(blueprint, spec, step, live, scalar, critic)
        live.enter("end", "temporaries")
    return live


def _kind_of(name: str) -> str:
    return "adapters" if "lora_" in name else "weights"


def _micro_batch(
    blueprint: Blueprint, spec: ModelSpec, step: Step, live: LiveBytes, scalar: ScalarHead | None, critic: Blueprint | None
) -> None:
    for made in (blueprint, critic):
        if made is not None and step.work == "ppo":
            train_without_dropout(made.model)
    live.is_backward = False
    live.enter("forward", "inputs")
    inputs, targets = _inputs(blueprint.model, spec, step)
    live.enter("forward", "activations")
    loss = _loss(blueprint, step, live, inputs, targets, scalar, critic)
    live.is_backward = True
    live.enter("head backward", "temporaries")
    loss.backward()


def _loss(
    blueprint: Blueprint,
    step: Step,
    live: LiveBytes,
    inputs: dict[str, Any],
    targets: Tensor,
    scalar: ScalarHead | None,
    critic: Blueprint | None,
) -> Tensor:
    model, head = blueprint.model, blueprint.head
    if step.work == "sft":
        with head.loss_of(targets, chunked=step.chunked_loss):
            return model(**inputs, use_cache=False).logits[0]
    assert scalar is not None
    if step.work == "reward":
        return scalar(last_hidden_states(model, head, **inputs)).sum()
    with head.token_answers(targets, entropy_gradient=step.entropy_gradient):
        said = read_answers(model(**inputs, use_cache=False).logits)
    hidden = said.hidden_states if critic is None else last_hidden_states(critic.model, critic.head, **inputs)
    live.enter("head", "loss")
    values = scalar(hidden)
    total = said.logprobs.sum() + said.entropy.sum() + values.sum()
    if step.with_data:
        with head.loss_of(targets, chunked=step.chunked_loss):
            total = total + model(**inputs, use_cache=False).logits[0]
    return total


def _without_gradient(blueprint: Blueprint, step: Step, live: LiveBytes) -> None:
    live.enter("forward", "inputs")
    ids = torch.zeros((step.rows, step.width), dtype=torch.int64)
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    model = blueprint.model.eval()
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = torch.zeros((step.rows, step.target_width), dtype=torch.int64)
    live.enter("forward", "activations")
    with torch.no_grad():
        if step.work == "score":
            last_hidden_states(model, blueprint.head, **inputs)
            return
        last = "logits_to_keep" in inspect.signature(base_model_of(model).forward).parameters
        cached = model(**inputs, use_cache=True, **({"logits_to_keep": 1} if last else {})).past_key_values
        held = [tensor.untyped_storage().nbytes() for tensor in _cache_tensors(cached)]
        for tensor in _cache_tensors(cached):
            live.count(tensor, "cache")
        live.enter("answering", "temporaries")
        live.for_a_moment(2 * max(held))  # a layer's keys and values are copied to make room for one more


def _cache_tensors(cache: Any) -> Iterator[Tensor]:
    if isinstance(cache, EncoderDecoderCache):
        yield from _cache_tensors(cache.self_attention_cache)
        yield from _cache_tensors(cache.cross_attention_cache)
        return
    for layer in cache.layers:
        yield from (layer.keys, layer.values)


def _inputs(model: Any, spec: ModelSpec, step: Step) -> tuple[dict[str, Any], Tensor]:
    ids = torch.zeros((step.rows, step.width), dtype=torch.int64)
    mask = torch.ones_like(ids)
    if model.config.is_encoder_decoder:
        labels = torch.zeros((step.rows, step.target_width), dtype=torch.int64)
        return {"input_ids": ids, "attention_mask": mask, "decoder_input_ids": torch.zeros_like(labels)}, labels
    labels = torch.zeros_like(ids)
    if step.shared:
        rows = SharedRows(ids, torch.zeros_like(ids), torch.zeros_like(ids), torch.zeros_like(ids), ids)
        return shared_inputs(rows, str(model.config._attn_implementation), model.dtype), labels
    if step.packed:
        laid: dict[str, Any] = packed_inputs(torch.zeros_like(ids), mask, spec.packing, model.config._attn_implementation, model.dtype)
        laid.pop("use_cache")
    else:
        laid = {"attention_mask": mask}
    targets = shift_targets(labels) if step.work in ("sft", "ppo") else labels
    return {"input_ids": ids, **laid}, targets


# --- parts of the step -------------------------------------------------------------------------------------------------


def _mark_parts(blueprint: Blueprint, live: LiveBytes) -> None:
    """Name the parts of a step after the first and the last block of a stack, where the highest moments are."""
    for stack, blocks in (("encoder", blueprint.blocks.encoder), ("decoder", blueprint.blocks.decoder)):
        for i, block in enumerate(blocks):
            place = "first" if i == 0 else "last" if i == len(blocks) - 1 else "middle"
            _mark(block, f"{stack} {place}", live, ends="head" if stack == "decoder" and i == len(blocks) - 1 else "forward")


def _mark(block: nn.Module, name: str, live: LiveBytes, ends: str) -> None:
    def before(module: nn.Module, args: Any, kwargs: Any) -> None:
        if not live.is_backward:
            live.enter(f"{name} forward", "activations")
            for value in (*args[:1], kwargs.get("hidden_states")):
                # of other blocks it is the output of the one below, which has its own hook
                if name.endswith("first") and isinstance(value, Tensor) and value.requires_grad:
                    value.register_hook(lambda _: live.enter(f"{name} left", "temporaries"))

    def after(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if not live.is_backward:
            live.enter(ends, "loss" if ends == "head" else "activations")
            first = output if isinstance(output, Tensor) else output[0]
            if first.requires_grad:
                first.register_hook(lambda _: live.enter(f"{name} backward", "temporaries"))

    block.register_forward_pre_hook(before, with_kwargs=True)
    block.register_forward_hook(after, with_kwargs=True)
