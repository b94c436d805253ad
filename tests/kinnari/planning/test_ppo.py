"""PPO's phases: what is beside the policy, and the cache of its answers, by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kinnari.planning.estimate import estimate
from kinnari.planning.ppo import _learning_step
from kinnari.planning.request import GIB, Parallel, RowTokens
from kinnari.rollouts.settings import PPOSettings
from kinnari.strategies.tuning import Tuning
from tests.kinnari.planning.specs import A100, request, spec_of

PPO = PPOSettings(num_rollouts=16, epochs=2, response_length=100)


def asked(**changes):
    settings = {"tuning": Tuning(name="lora", r=8), "hardware": A100, "precision": "bf16-mixed", "task": "ppo", "ppo": PPO,
                "micro_size": 2, "global_size": 8}  # fmt: skip
    return request("llama7b", **(settings | changes))


def test_keys_and_values_of_an_answer_by_hand():
    """2 x 32 blocks x 4096 x 2 bytes a token; 8 rows of 64 + 100 tokens (4 micro-batches of 2 are answered together)."""
    long = asked(ppo=replace(PPO, response_length=2000))
    cache = estimate(long).phases["generation"].memory_gib["cache"]
    # one token more than asked for: the first of the answer is computed with the prompt in the cache
    assert cache == pytest.approx(2 * 32 * 4096 * 2 * 8 * (64 + 2000) / GIB, rel=0.02)


def test_the_reference_is_the_first_values_of_what_is_trained():
    phases = estimate(asked()).phases
    adapters = 4 * 32 * 2 * 8 * (4096 + 4096) / GIB  # q_proj and v_proj
    trained = estimate(asked()).trainable_parameters
    for phase in phases.values():
        assert phase.memory_gib["reference"] == pytest.approx(4 * trained / GIB)
        assert phase.memory_gib["weights"] == pytest.approx(2 * 6738415616 / GIB, rel=0.001)
    assert adapters > 0


def test_a_reward_model_of_its_own_stays_on_the_device():
    with_model, without = estimate(asked(reward_spec=spec_of("xglm564m"))), estimate(asked())
    for name, phase in with_model.phases.items():
        assert phase.memory_gib["reward_model"] == pytest.approx(2 * 564_463_616 / GIB, rel=0.001)
        assert name == "scoring" or phase.peak_gib > without.phases[name].peak_gib
    assert with_model.flops_per_step > without.flops_per_step


def test_a_separate_critic_under_full_tuning_is_another_model_with_its_optimizer():
    settings = {"tuning": Tuning(name="full", gradient_checkpointing=True), "parallel": Parallel("deepspeed_zero3"),
                "hardware": replace(A100, devices=8)}  # fmt: skip
    shared = estimate(asked(**settings, global_size=16))
    separate = estimate(asked(**settings, global_size=16, ppo=replace(PPO, critic="separate")))
    weights = 6738415616 / 8 / GIB
    assert separate.phases["training"].memory_gib["value"] == pytest.approx((2 + 4 + 8 + 2) * weights, rel=0.001)
    assert separate.peak_memory_gib > shared.peak_memory_gib + 15 * weights


def test_an_iteration_trains_its_rollouts_as_often_as_there_are_epochs():
    once, twice = (estimate(asked(ppo=replace(PPO, epochs=n))).phases["training"].flops for n in (1, 2))
    assert twice == pytest.approx(2 * once)


def test_answering_takes_longer_than_its_operations_would():
    phase = estimate(asked()).phases["generation"]
    assert phase.seconds is not None
    assert phase.seconds > 5 * phase.flops / (312e12 * 0.44)


def test_an_encoder_decoder_can_be_planned():
    told = estimate(request("mt0_small", task="ppo", tuning=Tuning(name="lora"), ppo=PPO, hardware=A100, precision="bf16-mixed"))
    assert set(told.phases) == {"generation", "scoring", "training"}
    assert told.phases["generation"].memory_gib["cache"] > 0


def test_answers_to_one_prompt_are_learnt_from_in_one_row_that_holds_it_once():
    apart = asked(micro_size=4, rows=RowTokens(width=400))
    together = replace(apart, ppo=replace(PPO, answers_per_prompt=4))
    step = _learning_step(together)
    assert (step.rows, step.width) == (1, 808)  # 399 tokens of the prompt, 4 x (its last and 100 of the answer) = 803, in steps of 8
    assert (_learning_step(apart).rows, _learning_step(apart).width) == (4, 504)
    # two prompts, since a micro-batch of 4 may hold ends of two groups of 3
    assert _learning_step(replace(apart, ppo=replace(PPO, num_rollouts=18, answers_per_prompt=3))).width == 1208
    alone, shared = estimate(apart), estimate(together)
    assert shared.phases["training"].flops < 0.5 * alone.phases["training"].flops
    assert shared.phases["generation"].memory_gib == alone.phases["generation"].memory_gib  # every answer is written by itself


def test_an_encoder_decoder_has_its_answers_in_rows_of_their_own():
    ppo = replace(PPO, answers_per_prompt=4)
    assert not _learning_step(request("mt0_small", task="ppo", tuning=Tuning(name="lora"), ppo=ppo, micro_size=4)).shared
