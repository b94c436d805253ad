"""task=ppo and task=dpo from command line words: what must hold at the first step, that they learn, resume, and every strategy."""

from __future__ import annotations

import json
import math
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from kinnari.tasks.compose import compose
from kinnari.tasks.dpo import dpo
from kinnari.tasks.interruption import StopRequest
from kinnari.tasks.ppo import ppo
from kinnari.tasks.reward import reward
from kinnari.tasks.rules import check
from tests.distributed import run_ranks

SMALL = ("callbacks=none", "logger=none", "trainer.precision=32-true", "batch.micro_size=2", "task.export_merged=false")
PPO = (*SMALL, "task=ppo", "data.chatterbot.limit=60", "ppo.iterations=2", "ppo.num_rollouts=8", "ppo.epochs=2", "ppo.response_length=6",
       "batch.global_size=4", "ppo.reward=rule", "ppo/rule=script_share", "ppo.rule.language=en", "ppo.held_out_prompts=2",
       "optimizer.lr=1e-2")  # fmt: skip
DPO = (*SMALL, "task=dpo", "model=tiny_causal", "data=chatterbot_ranked", "data.chatterbot_ranked.limit=24", "batch.global_size=8",
       "held_out.fraction=null", "held_out.most=6", "trainer.max_steps=4", "optimizer.lr=1e-2")  # fmt: skip
TUNINGS = {"full": "strategy=full", "lora": "strategy=lora", "qlora": "strategy=qlora"}
RUNS = {"causal": "model=tiny_causal", "seq2seq": "model=tiny_seq2seq"}


def run(task, overrides: Sequence[str], folder: str | None = None) -> dict:
    with tempfile.TemporaryDirectory() as temporary:
        shared = [folder or temporary]
        if dist.is_initialized():
            dist.broadcast_object_list(shared)
        cfg = compose([*overrides, f"output_dir={shared[0]}"])
        check(cfg)
        result = task(cfg)
        if dist.is_initialized():
            dist.barrier()
    return result


def numbers(result: dict) -> dict:
    return {key: result[key] for key in ("curves", "loss_curve", "ppo/reward_before", "ppo/reward_after", "steps")}


def on_ranks(runs: Sequence[Sequence[str]]) -> list[dict]:
    return [numbers(run(ppo, words)) for words in runs]


@pytest.mark.parametrize("architecture", RUNS)
@pytest.mark.parametrize("tuning", TUNINGS)
def test_with_unchanged_weights_the_ratio_is_1_and_the_kl_0(architecture, tuning):
    result = run(ppo, [*PPO, RUNS[architecture], TUNINGS[tuning]])

    assert result["curves"]["kl"][0] == pytest.approx(0, abs=1e-6)
    assert result["curves"]["kl"][1] != 0
    # later iterations too: their first step has the weights that answered
    assert max(result["curves"]["first_ratio_error"]) < 1e-5
    assert result["steps"] == 8 and len(result["loss_curve"]) == 8 and all(map(math.isfinite, result["loss_curve"]))


@pytest.mark.parametrize("model", ["xglm7b", "pangu350m", "glm335m", "gemma2_2b"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_dropout_soft_caps_and_prefix_masks_change_nothing_of_that(model, checkpointing):
    words = [f"model={model}", "model.shrunk=true", "model.max_length=256", "strategy=lora",
             f"strategy.tuning.gradient_checkpointing={str(checkpointing).lower()}"]  # fmt: skip
    result = run(ppo, [*PPO, *words])

    assert result["curves"]["kl"][0] == pytest.approx(0, abs=1e-6)
    assert max(result["curves"]["first_ratio_error"]) < 1e-5


STRATEGIES = [("ddp", "lora"), ("fsdp", "lora"), ("fsdp", "full"), ("deepspeed_zero2", "full"), ("deepspeed_zero3", "lora"),
              ("deepspeed_zero3", "full")]  # fmt: skip


@pytest.fixture(scope="module")
def two_ranks() -> dict[tuple[str, str], dict]:
    runs = [[*PPO, RUNS["causal"], TUNINGS[tuning], f"strategy/parallel={parallel}", "hw=cpux2"] for parallel, tuning in STRATEGIES]
    return dict(zip(STRATEGIES, run_ranks(on_ranks, 2, runs, timeout_s=400)[0], strict=True))


@pytest.mark.parametrize("key", STRATEGIES, ids="-".join)
def test_under_every_strategy_the_ratio_is_1_and_the_kl_0_at_first(two_ranks, key):
    result = two_ranks[key]

    assert result["curves"]["kl"][0] == pytest.approx(0, abs=1e-6)
    assert max(result["curves"]["first_ratio_error"]) < 1e-5
    assert result["steps"] == 8 and all(map(math.isfinite, result["loss_curve"]))


def test_every_strategy_learns_the_same_from_the_same_answers(two_ranks):
    """Ranks draw the same answers under every strategy as long as the weights agree, so the curves can be compared."""
    for key in STRATEGIES:
        expected = two_ranks["ddp", "lora"] if key[1] == "lora" else two_ranks["fsdp", "full"]
        assert two_ranks[key]["loss_curve"] == pytest.approx(expected["loss_curve"], abs=2e-4)


def test_a_rule_that_can_be_learnt_is_learnt(tmp_path):
    words = [w for w in PPO if not w.startswith(("ppo.iterations", "ppo.num_rollouts", "batch.global", "optimizer"))]
    more = ["ppo.iterations=10", "ppo.num_rollouts=32", "batch.global_size=16", "optimizer.lr=2e-2", "ppo.kl_coef=0.0", "ppo.kl=fixed"]
    result = run(ppo, [*words, *more, RUNS["causal"], "strategy=full"], str(tmp_path))

    first, last = result["curves"]["score"][0], sum(result["curves"]["score"][-2:]) / 2
    assert last > first + 0.15 or last > 0.97
    rows = [json.loads(line) for line in (tmp_path / "rollouts.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["iteration"] for row in rows] == [i for i in range(10) for _ in range(32)]
    assert {"prompt", "answer", "score", "reward", "kl"} <= rows[0].keys()


def test_answers_to_one_prompt_are_learnt_from_together_and_resumed(tmp_path):
    more = ["ppo.answers_per_prompt=4", "ppo.baseline=others", "checkpoint.every_n_steps=4", "checkpoint.keep=9", "batch.micro_size=4"]
    words = [*PPO, RUNS["causal"], "strategy=lora", *more]
    whole = run(ppo, words, str(tmp_path / "whole"))

    assert whole["curves"]["first_ratio_error"][0] < 1e-5 and whole["curves"]["kl"][0] == pytest.approx(0, abs=1e-6)
    rows = [json.loads(line) for line in (tmp_path / "whole" / "rollouts.jsonl").read_text(encoding="utf-8").splitlines()]
    asked = Counter((row["iteration"], row["record_id"]) for row in rows)
    assert sorted(asked.values()) == [4, 4, 4, 4]
    of_one = [row["reward"] for row in rows if (row["iteration"], row["record_id"]) == next(iter(asked))]
    assert sum(of_one) == pytest.approx(0, abs=1e-6) and len({row["answer"] for row in rows}) > 4

    again = run(ppo, [*words, f"checkpoint.resume={tmp_path}/whole/checkpoints/step_00000004.ckpt"], str(tmp_path / "again"))
    assert numbers(again) == numbers(whole)


def test_an_interrupted_run_reports_nothing_from_after_its_training(tmp_path, monkeypatch):
    monkeypatch.setattr(StopRequest, "__enter__", lambda self: vars(self).update(made=True) or self)

    result = run(ppo, [*PPO, RUNS["causal"], "strategy=lora"], str(tmp_path))

    assert result["status"] == "interrupted" and result["iterations"] == 1
    assert result["ppo/reward_before"] is not None and result["ppo/reward_after"] is None
    assert result["samples"] == [] and "ppo/reward_gain" not in result


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path):
    words = [*PPO, RUNS["causal"], "strategy=lora", "ppo.iterations=4", "checkpoint.every_n_steps=4", "checkpoint.keep=9"]
    whole = run(ppo, words, str(tmp_path / "whole"))
    halfway = tmp_path / "whole" / "checkpoints" / "step_00000008.ckpt"

    again = run(ppo, [*words, f"checkpoint.resume={halfway}"], str(tmp_path / "again"))

    assert numbers(again) == numbers(whole)
    state = [
        torch.load(tmp_path / name / "checkpoints" / "step_00000016.ckpt", weights_only=True)["state_dict"] for name in ("whole", "again")
    ]
    assert all(torch.equal(state[0][name], state[1][name]) for name in state[0])


def test_a_reward_adapter_scores_on_the_policys_own_backbone_as_it_did_alone(tmp_path):
    pairs = ("task=reward", "data=chatterbot_ranked", "data.chatterbot_ranked.limit=24", "trainer.max_steps=3", "held_out.most=6",
             "held_out.fraction=null", "batch.global_size=8")  # fmt: skip
    base = [w for w in SMALL if "merged" not in w]
    run(reward, [*base, *pairs, RUNS["causal"], "strategy=lora"], str(tmp_path / "rm"))
    words = [w for w in PPO if "rule" not in w]
    result = {}
    for kind, tuning in (("shared", "lora"), ("beside", "full")):
        more = ["ppo.reward=model", f"reward.path={tmp_path}/rm/reward", TUNINGS[tuning], RUNS["causal"]]
        result[kind] = run(ppo, [*words, *more], str(tmp_path / kind))

    # before anything is trained both policies are the same model, so are its greedy answers and their scores
    assert result["shared"]["ppo/reward_before"] == pytest.approx(result["beside"]["ppo/reward_before"], abs=1e-5)
    assert result["shared"]["curves"]["kl"][0] == pytest.approx(0, abs=1e-6)
    adapter = Path(result["shared"]["adapter_dir"]) / "adapter_model.safetensors"
    from safetensors import safe_open

    with safe_open(adapter, "pt") as stored:
        assert not any("reward" in name for name in stored.keys())  # noqa: SIM118


@pytest.mark.parametrize("tuning", TUNINGS)
def test_dpo_begins_at_log_2_and_falls(tuning):
    result = run(dpo, [*DPO, TUNINGS[tuning]])

    assert result["val/loss_before"] == pytest.approx(math.log(2), abs=1e-5)
    assert result["loss_curve"][0] == pytest.approx(math.log(2), abs=1e-5)
    assert result["loss_curve"][-1] != result["loss_curve"][0]


def test_dpo_learns_a_preference_that_can_be_learnt(tmp_path):
    rows = [{"prompt": f"Question {i}?", "chosen": f"yes {i}", "rejected": f"no {i}"} for i in range(64)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    words = [w for w in DPO if "chatterbot" not in w and "max_steps" not in w]
    more = ["data=preference_pairs", f"data.preference_pairs.path={tmp_path}/pairs.jsonl", "held_out.near_duplicates=null",
            "trainer.max_steps=12", "strategy=full"]  # fmt: skip
    result = run(dpo, [*words, *more])

    assert result["val/reward_accuracy"] == 1.0 and result["val/loss"] < 0.5
