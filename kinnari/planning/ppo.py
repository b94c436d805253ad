"""What an iteration of PPO costs: answering, scoring, learning, each with a highest moment of its own.

    generation   weights, optimizer state, reference, reward model, keys and values of the answers
    scoring      the same with a forward of the reward model instead
    training     the same with gradients, activations and the loss, and a second forward where the critic is a model of its own

Everything stays on the device from one phase to the next, as `lightning_modules.ppo` keeps it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from kinnari.models.shared_prefix import ROUND_TO, can_share, cost
from kinnari.planning import seconds, sharding
from kinnari.planning.blueprint import Making, shapes_of
from kinnari.planning.estimate import (
    assembled,
    block_count,
    finished,
    is_lora,
    making,
    micro_batches,
    moment_of,
    peak,
    seconds_of,
    trained,
    training_step,
)
from kinnari.planning.fake_step import Step
from kinnari.planning.request import Estimate, Phase, PlanRequest
from kinnari.planning.sharding import SHARDED, Held
from kinnari.planning.trace import Traced, trace
from kinnari.strategies.precision import COMPUTE_DTYPES

SCORED_ROWS = 8
"""`batch_size` of `kinnari.rollouts.reward_model.ModelReward`."""
ANSWERED_ROWS = 4
"""Micro-batches of prompts that are answered together (`lightning_modules.ppo`)."""


@dataclass(frozen=True)
class _Parts:
    """What the phases share."""

    policy: Traced
    answering: Traced
    scoring: Traced | None
    held: Held
    beside: dict[str, float]
    value: dict[str, float]


def estimate_ppo(request: PlanRequest) -> Estimate:
    """Memory of the phases and cost of one iteration; `request.rows.width` is that of the prompts."""
    parts = _parts(request)
    phases = {
        "generation": _generation(request, parts),
        "scoring": _scoring(request, parts),
        "training": _training(request, parts),
    }
    ppo, world = request.ppo, request.hardware.world_size
    flops = sum(phase.flops for phase in phases.values()) * world
    tokens = ppo.num_rollouts * (min(request.rows.mean or request.rows.width, request.rows.width) + ppo.response_lengths[1])
    sent = seconds.communication(request, parts.policy.sizes, micro_batches(request)).total * _optimizer_steps(request)
    return assembled(request, phases, parts.policy, flops, tokens, sent, parts.held)


def _parts(request: PlanRequest) -> _Parts:
    lora, sharded = is_lora(request), request.parallel.name in SHARDED
    policy = trained(request, _learning_step(request))
    held = sharding.held(request, policy.sizes, lora, micro_batches(request) > 1)
    own = held.adapters if lora else held.weights
    average = 0.0
    if request.ppo.ema_beta is not None:
        average = 4 * policy.sizes.trainable / (request.hardware.world_size if sharded else 1)
    scoring = _reward(request)
    beside = {
        "reference": own + average,
        "reward_model": 0.0 if scoring is None else scoring.sizes.frozen_bytes + scoring.sizes.trainable_bytes,
    }
    separate = request.ppo.critic == "separate"
    value = {"value": own + held.masters + held.optimizer} if separate else {}
    answering = trained(request, _answering_step(request))
    return _Parts(policy, answering, scoring, held, beside, value)


def _learning_step(request: PlanRequest) -> Step:
    """A micro-batch of rollouts as `kinnari.rollouts.one_row` lays it out: the answers to one prompt share it, where that pays.

    What all prompts begin with may be shared as well, which a plan cannot know. Rows of the data beside rollouts (`ppo.ptx_coef`) stand
    apart, and then all are planned so.
    """
    step, most = _separate_rows(request), request.ppo.response_lengths[1]
    config = shapes_of(request.spec).config
    config._attn_implementation = config._attn_implementation or "sdpa"  # what transformers takes where nothing is said
    seq2seq = request.spec.architecture == "seq2seq"
    if request.ppo.answers_per_prompt == 1 or seq2seq or step.with_data or not can_share(config, request.spec.packing, step.width):
        return step
    prompts = _prompts_of_a_row(request.micro_size, request.ppo.answers_per_prompt)
    # the token that predicts an answer's first is each row's own
    width = -(-(prompts * (request.rows.width - 1) + request.micro_size * (most + 1)) // ROUND_TO) * ROUND_TO
    size = config.get_text_config(decoder=True).hidden_size
    if cost(width, size) >= step.rows * cost(step.width, size):
        return step
    return replace(step, rows=1, width=width, shared=True)


def _prompts_of_a_row(rows: int, answers: int) -> int:
    """Most prompts among so many neighbours, of which each has so many answers; those at the ends may have others elsewhere."""
    if rows % answers == 0 or answers % rows == 0:
        return max(1, rows // answers)
    return (rows - 2) // answers + 2


def _separate_rows(request: PlanRequest) -> Step:
    """Prompt and answer in a row; of an encoder-decoder the answer is the decoder's row."""
    most = request.ppo.response_lengths[1]
    seq2seq = request.spec.architecture == "seq2seq"
    rows = replace(request.rows, width=request.rows.width + (0 if seq2seq else most), target_width=most, packed=False)
    return training_step(
        replace(request, rows=rows),
        "ppo",
        targets=request.micro_size * most,
        entropy_gradient=request.ppo.entropy_coef > 0,
        second_forward=request.ppo.critic == "separate",
        with_data=request.ppo.ptx_coef > 0,
    )


def _answering_step(request: PlanRequest) -> Step:
    """The prompts of one batch; a decoder beside an encoder writes the whole answer, since its own prompt is a token."""
    seq2seq = request.spec.architecture == "seq2seq"
    step = replace(_separate_rows(request), work="prefill", micro_batches=1, second_forward=False, with_data=False)
    return replace(step, rows=_rows_answered(request), width=step.width if seq2seq else training_step(request).width)


def _rows_answered(request: PlanRequest) -> int:
    return min(ANSWERED_ROWS * request.micro_size, math.ceil(request.ppo.num_rollouts / request.hardware.world_size))


def _growth(request: PlanRequest) -> float:
    """Tokens of a whole answer with its prompt to those that were traced."""
    if request.spec.architecture == "seq2seq":
        return 1.0
    width = _answering_step(request).width
    return (width + request.ppo.response_lengths[1]) / width


def _reward(request: PlanRequest) -> Traced | None:
    if request.reward_spec is None:
        return None
    compute = COMPUTE_DTYPES[request.precision]
    made = Making(weights=compute, trained=compute, compute=compute, fused=False, storage=making(request).storage)
    step = replace(_separate_rows(request), work="score", rows=SCORED_ROWS, micro_batches=1, second_forward=False, with_data=False)
    return trace(request.reward_spec, None, made, step, request.optimizer)


# --- phases ------------------------------------------------------------------------------------------------------------


def _generation(request: PlanRequest, parts: _Parts) -> Phase:
    ppo, rows = request.ppo, _rows_answered(request)
    mine = ppo.num_rollouts / request.hardware.world_size
    sizes, growth = parts.policy.sizes, _growth(request)
    whole = sizes.frozen_bytes + sizes.trainable_bytes
    cache = growth * max(kinds.get("cache", 0.0) for kinds in parts.answering.peaks.values())
    answers = ppo.response_lengths[1]
    took = seconds.answering(request.hardware, whole, cache, block_count(request), answers, parts.answering.flops)
    if took is not None and request.parallel.name in ("fsdp", "deepspeed_zero3") and request.hardware.world_size > 1:
        took = max(took, answers * whole / seconds.link_bytes_s(request.hardware))  # every token gathers all weights
    batches = math.ceil(mine / rows)
    grown = {part: _with_cache(kinds, cache, growth) for part, kinds in parts.answering.peaks.items()}
    flops = growth * parts.answering.flops * mine / rows
    return Phase(memory_gib=_resting(request, parts, grown), flops=flops, seconds=None if took is None else took * batches)


def _with_cache(kinds: Mapping[str, float], cache: float, growth: float) -> dict[str, float]:
    """While the prompt is read its keys and values are among the activations; afterwards they grow with the answer."""
    if kinds.get("cache", 0.0):
        return dict(kinds) | {"cache": cache}
    kept = min(cache / growth, kinds.get("activations", 0.0))
    return dict(kinds) | {"activations": kinds.get("activations", 0.0) - kept, "cache": kept}


def _resting(request: PlanRequest, parts: _Parts, peaks: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The highest moment of forwards without a gradient."""
    beside = parts.beside | parts.value
    moments = [
        moment_of(request, kinds, parts.held, part) | {"gradients": 0.0, "communication": 0.0} | beside
        for part, kinds in peaks.items()
        if part != "end"
    ]
    return finished(request, max(moments, key=lambda moment: sum(moment.values())))


def _scoring(request: PlanRequest, parts: _Parts) -> Phase:
    """The reward model's forward, and two of the policy: itself and as the reference; a third for a critic of its own."""
    mine = request.ppo.num_rollouts / request.hardware.world_size
    forwards = 3.0 if request.ppo.critic == "separate" else 2.0
    whole, laid = _separate_rows(request), _learning_step(request)
    forwards *= laid.rows * laid.width / (whole.rows * whole.width)
    flops = forwards * _growth(request) * parts.answering.flops * mine / _rows_answered(request)
    scored = parts.answering if parts.scoring is None else parts.scoring
    memory = _resting(request, parts, {part: kinds for part, kinds in scored.peaks.items() if part != "answering"})
    if parts.scoring is not None:
        flops += parts.scoring.flops * mine / SCORED_ROWS
    sizes = parts.policy.sizes
    return Phase(
        memory_gib=memory, flops=flops, seconds=seconds.computing(request.hardware, flops, sizes.frozen_bytes + sizes.trainable_bytes)
    )


def _training(request: PlanRequest, parts: _Parts) -> Phase:
    step = _learning_step(request)
    mine = request.ppo.num_rollouts / request.hardware.world_size
    flops = request.ppo.epochs * parts.policy.flops * mine / (request.micro_size * step.micro_batches)
    # where nothing shards, the critic's gradients are in the traced step
    more = parts.held.gradients if request.parallel.name in SHARDED else 0.0
    value = {name: held + more for name, held in parts.value.items()}
    memory = peak(request, parts.policy, parts.held, parts.beside | value)
    sent = seconds.communication(request, parts.policy.sizes, micro_batches(request))
    steps = _optimizer_steps(request)
    took = seconds_of(request, parts.policy, flops * request.hardware.world_size / steps, sent, parts.held)
    return Phase(memory_gib=memory, flops=flops, seconds=None if took is None else took * steps)


def _optimizer_steps(request: PlanRequest) -> int:
    return request.ppo.epochs * math.ceil(request.ppo.num_rollouts / request.global_size)
