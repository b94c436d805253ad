"""What the two published PPO recipes need beside the default: a critic of its own, the data's answers mixed in, a moving average."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from kinnari.errors import ConfigError
from kinnari.export.merged import merged_tensors
from kinnari.models.head import base_model_of
from kinnari.rollouts.settings import PPOSettings
from kinnari.tasks import build
from kinnari.tasks.compose import compose
from kinnari.tasks.ppo import ppo
from kinnari.tasks.reward import reward
from kinnari.tasks.reward_folder import load_backbone
from lightning_modules import PPOModule
from tests.distributed import run_ranks
from tests.end_to_end.test_ppo import PPO, RUNS, SMALL, TUNINGS, numbers, run

CRITIC = ("ppo.critic=separate", "ppo.critic_lr=5e-3")
BESIDE = ("ppo.ptx_coef=2.0", "ppo.ema_beta=0.9", "ppo.export_ema=true")
LAST = "step_00000008.ckpt"


def trained(folder: Path, name: str = LAST) -> dict:
    return torch.load(folder / "checkpoints" / name, weights_only=True)


@pytest.mark.parametrize("architecture", RUNS)
@pytest.mark.parametrize("tuning", ["full", "lora", "qlora"])
def test_with_everything_on_the_ratio_is_1_and_the_kl_0(architecture, tuning):
    result = run(ppo, [*PPO, *CRITIC, *BESIDE, RUNS[architecture], TUNINGS[tuning]])

    assert result["curves"]["kl"][0] == pytest.approx(0, abs=1e-6)
    assert result["curves"]["kl"][1] != 0
    assert max(result["curves"]["first_ratio_error"]) < 1e-5
    assert len(result["loss_curve"]) == 8 and all(map(math.isfinite, result["loss_curve"]))


def test_policy_and_critic_are_trained_apart_and_exported_without_the_critic(tmp_path):
    result = run(ppo, [*PPO, *CRITIC, *BESIDE, RUNS["causal"], "strategy=lora"], str(tmp_path))
    state = trained(tmp_path)["state_dict"]

    critic = [name for name in state if ".lora_B.critic." in name]
    policy = [name.replace(".critic.", ".default.") for name in critic]
    assert critic and all(state[name].abs().sum() > 0 for name in (*critic, *policy))  # B is 0 until it is trained
    exported = load_file(Path(result["adapter_dir"]) / "adapter_model.safetensors")
    average = load_file(Path(result["ema"]["adapter_dir"]) / "adapter_model.safetensors")
    assert exported.keys() == average.keys() and not any("critic" in name for name in exported)
    one = next(name for name in exported if "lora_B" in name)
    last, mean = (next(v for k, v in found.items() if one.removesuffix(".weight") in k and ".default." in k)
                  for found in (state, trained(tmp_path)["ppo"]["ema"]))  # fmt: skip
    assert torch.equal(exported[one], last) and torch.equal(average[one], mean) and not torch.equal(last, mean)


def test_checkpointed_blocks_are_computed_again_with_the_adapter_they_ran_with():
    words = [*PPO, *CRITIC, RUNS["causal"], "strategy=lora"]
    plain, again = (run(ppo, [*words, f"strategy.tuning.gradient_checkpointing={value}"]) for value in ("false", "true"))

    assert again["loss_curve"] == pytest.approx(plain["loss_curve"], abs=1e-5)


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path):
    words = [*PPO, *CRITIC, *BESIDE, RUNS["causal"], "strategy=lora", "ppo.iterations=4", "checkpoint.every_n_steps=4", "checkpoint.keep=9",
             "ppo.query_tokens=[3,9]"]  # fmt: skip
    whole = run(ppo, words, str(tmp_path / "whole"))

    again = run(ppo, [*words, f"checkpoint.resume={tmp_path}/whole/checkpoints/{LAST}"], str(tmp_path / "again"))

    assert numbers(again) == numbers(whole)
    first, second = (trained(tmp_path / name, "step_00000016.ckpt") for name in ("whole", "again"))
    assert all(torch.equal(first["state_dict"][name], second["state_dict"][name]) for name in first["state_dict"])
    assert all(torch.equal(first["ppo"]["ema"][name], second["ppo"]["ema"][name]) for name in first["ppo"]["ema"])


def test_a_resume_without_the_average_it_asks_for_is_refused(tmp_path):
    words = [*PPO, RUNS["causal"], "strategy=lora", "checkpoint.every_n_steps=4"]
    run(ppo, words, str(tmp_path / "whole"))

    with pytest.raises(ConfigError, match="no moving average"):
        run(ppo, [*words, "ppo.ema_beta=0.9", f"checkpoint.resume={tmp_path}/whole/checkpoints/{LAST}"], str(tmp_path / "again"))


NEXT_TO_NOTHING = (*(w for w in PPO if not any(part in w for part in ("rule", "iterations", "num_rollouts", "epochs", "optimizer"))),
                   RUNS["causal"], "ppo.iterations=1", "ppo.num_rollouts=4", "ppo.epochs=1", "optimizer.lr=1e-9",
                   "ppo.critic=separate")  # fmt: skip


def reward_model(folder: Path, tuning: str) -> None:
    """In `rm`, trained for three steps."""
    pairs = ("task=reward", "data=chatterbot_ranked", "data.chatterbot_ranked.limit=24", "trainer.max_steps=3", "held_out.most=6",
             "held_out.fraction=null", "batch.global_size=8", "reward.freeze_fraction=0", "optimizer.lr=1e-2")  # fmt: skip
    run(reward, [*(w for w in SMALL if "merged" not in w), *pairs, RUNS["causal"], tuning], str(folder / "rm"))


def test_a_separate_critic_begins_as_the_reward_model(tmp_path):
    reward_model(tmp_path, "strategy=lora")
    run(ppo, [*NEXT_TO_NOTHING, "ppo.reward=model", f"reward.path={tmp_path}/rm/reward", "strategy=lora"], str(tmp_path / "ppo"))

    # one step of next to nothing: the critic is what it began as
    state = trained(tmp_path / "ppo", "step_00000001.ckpt")["state_dict"]
    adapter = load_file(tmp_path / "rm" / "reward" / "adapter" / "adapter_model.safetensors")
    head = load_file(tmp_path / "rm" / "reward" / "reward_head.safetensors")["weight"]
    assert torch.allclose(state["value_head.weight"], head, atol=1e-6)
    for name, tensor in adapter.items():
        assert torch.allclose(state["model." + name.replace(".weight", ".critic.weight")], tensor, atol=1e-6)


@pytest.mark.parametrize("of", ["full", "lora"])
def test_under_full_tuning_a_second_backbone_begins_as_the_reward_model(tmp_path, of):
    reward_model(tmp_path, TUNINGS[of])
    run(ppo, [*NEXT_TO_NOTHING, "ppo.reward=model", f"reward.path={tmp_path}/rm/reward", "strategy=full"], str(tmp_path / "ppo"))

    state = trained(tmp_path / "ppo", "step_00000001.ckpt")["state_dict"]
    backbone, _ = load_backbone(tmp_path / "rm" / "reward", dtype=torch.float32)
    whole = merged_tensors(base_model_of(backbone))
    critic = {name.removeprefix("critic."): tensor for name, tensor in state.items() if name.startswith("critic.")}
    head = load_file(tmp_path / "rm" / "reward" / "reward_head.safetensors")["weight"]
    assert torch.allclose(state["value_head.weight"], head, atol=1e-6)
    assert critic.keys() == whole.keys() - {"lm_head.weight"}  # never called
    assert all(torch.allclose(tensor, whole[name](), atol=1e-6) for name, tensor in critic.items())
    assert any(not torch.allclose(tensor, state[f"model.{name}"], atol=1e-4) for name, tensor in critic.items())


def test_it_begins_as_the_policy_where_the_reward_is_no_such_model():
    cfg = compose([*NEXT_TO_NOTHING, "ppo.reward=rule", "ppo/rule=near_length", "ppo.rule.characters=4", "strategy=full"])
    tokenizer, policy = build.tokenizer(cfg), build.tuned_model(cfg, build.parts(cfg), build.tokenizer(cfg))
    module = PPOModule(policy, tokenizer, lambda rollouts: [0.0] * len(rollouts), PPOSettings(critic="separate"))

    assert module.critic is not None and module.critic is not policy
    ours = dict(policy.named_parameters())
    assert all(torch.equal(p, ours[name]) and p is not ours[name] for name, p in module.critic.named_parameters())
    assert float(module.value_head.weight.abs().sum()) == 0


def test_a_full_policy_and_its_critic_are_trained_apart_and_exported_without_the_critic(tmp_path):
    words = [w for w in PPO if "merged" not in w]
    result = run(ppo, [*words, *CRITIC, RUNS["causal"], "strategy=full"], str(tmp_path))
    checkpoint = trained(tmp_path)
    state = checkpoint["state_dict"]

    critic = {name.removeprefix("critic."): tensor for name, tensor in state.items() if name.startswith("critic.")}
    assert critic and any(not torch.allclose(tensor, state[f"model.{name}"], atol=1e-4) for name, tensor in critic.items())
    rates = sorted({round(group["initial_lr"], 9) for group in checkpoint["optimizer_states"][0]["param_groups"]})
    assert rates == [5e-3, 1e-2]
    merged = load_file(Path(result["merged_dir"]) / "model.safetensors")
    assert all(torch.equal(tensor, state[f"model.{name}"].to(tensor.dtype)) for name, tensor in merged.items() if f"model.{name}" in state)
    assert not any("critic" in name for name in merged)


def test_an_average_that_is_not_kept_cannot_be_exported():
    with pytest.raises(ConfigError, match="average to export"):
        run(ppo, [*PPO, RUNS["causal"], "strategy=lora", "ppo.export_ema=true"])


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_frozen_blocks_stay_what_they_were_and_are_exported_with_the_rest(tmp_path, tuning):
    words = [*(w for w in PPO if "merged" not in w), RUNS["causal"], TUNINGS[tuning], "ppo.num_layers_unfrozen=1"]
    result = run(ppo, words, str(tmp_path))

    assert result["curves"]["kl"][0] == pytest.approx(0, abs=1e-6) and result["curves"]["kl"][1] != 0
    state = trained(tmp_path)["state_dict"]
    assert any(".layers.1." in name for name in state)
    assert not any(".layers.0." in name or "embed" in name for name in state)
    merged = load_file(Path(result["merged_dir"]) / "model.safetensors")
    first = build.load_for_training(compose([*words, f"output_dir={tmp_path}"]))[0]
    begun = {name.replace("base_model.model.", "").replace(".base_layer", ""): p for name, p in first.named_parameters()}
    assert all(torch.equal(merged[name], begun[name].to(merged[name].dtype)) for name in merged if ".layers.0." in name)
    assert not torch.equal(merged["model.layers.1.self_attn.q_proj.weight"], begun["model.layers.1.self_attn.q_proj.weight"])


def test_more_blocks_than_there_are_cannot_be_trained():
    with pytest.raises(ConfigError, match="num_layers_unfrozen=9 must be from 1 to"):
        run(ppo, [*PPO, RUNS["causal"], "strategy=full", "ppo.num_layers_unfrozen=9"])


# --- strategies -----------------------------------------------------------------------------------------------------------

STRATEGIES = [("ddp", "lora"), ("fsdp", "lora"), ("deepspeed_zero2", "lora"), ("deepspeed_zero3", "lora"), ("ddp", "full"),
              ("fsdp", "full"), ("deepspeed_zero3", "full")]  # fmt: skip


END = "step_00000004.ckpt"
RESUMED = [("fsdp", "lora"), ("deepspeed_zero3", "full")]  # from a checkpoint of ddp


def on_ranks(runs: Sequence[Sequence[str]], folder: str) -> list[tuple[dict, dict]]:
    found = []
    for i, words in enumerate(runs):
        result = run(ppo, [word.replace("FOLDER", folder) for word in words], f"{folder}/{i}")
        found.append((numbers(result), trained(Path(folder) / str(i), END)["ppo"]["ema"]))
    return found


def words_of(parallel: str, tuning: str, *more: str) -> list[str]:
    beside = [w for w in BESIDE if "export" not in w]
    kept = [w for w in PPO if "epochs" not in w]
    return [*kept, *beside, *CRITIC, "ppo.epochs=1", "checkpoint.every_n_steps=2", "checkpoint.keep=9", RUNS["causal"], TUNINGS[tuning],
            f"strategy/parallel={parallel}", "hw=cpux2", *more]  # fmt: skip


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory) -> dict[tuple[str, ...], tuple[dict, dict]]:
    folder = str(tmp_path_factory.mktemp("ranks"))
    runs = [words_of(*key) for key in STRATEGIES]
    for parallel, tuning in RESUMED:
        half = f"FOLDER/{STRATEGIES.index(('ddp', tuning))}/checkpoints/step_00000002.ckpt"
        runs.append(words_of(parallel, tuning, f"checkpoint.resume={half}"))
    keys = [*STRATEGIES, *((*key, "resumed") for key in RESUMED)]
    return dict(zip(keys, run_ranks(on_ranks, 2, runs, folder, timeout_s=500)[0], strict=True))


@pytest.mark.parametrize("key", [*STRATEGIES, *((*key, "resumed") for key in RESUMED)], ids="-".join)
def test_every_strategy_learns_and_averages_the_same(two_ranks, key):
    (result, average), (expected, averaged) = two_ranks[key], two_ranks["ddp", key[1]]

    assert max(result["curves"]["first_ratio_error"]) < 1e-5 and result["curves"]["kl"][0] == pytest.approx(0, abs=1e-6)
    assert len(result["loss_curve"]) == 4 and result["loss_curve"] == pytest.approx(expected["loss_curve"], abs=3e-4)
    assert average.keys() == averaged.keys()
    assert all(torch.allclose(average[name], averaged[name], atol=2e-4) for name in average)


# --- the files ------------------------------------------------------------------------------------------------------------


def settings_of(*words: str) -> PPOSettings:
    node = build.plain(compose([*words]).ppo)
    return PPOSettings(**{k: v for k, v in node.items() if k in PPOSettings.__dataclass_fields__})


def test_the_recipes_have_the_published_values():
    trlx = settings_of("experiment=sunzeyeah_pangu_ppo_trlx", "data.scored_answers.path=F")
    assert (trlx.kl, trlx.kl_coef, trlx.kl_target, trlx.kl_horizon) == ("adaptive", 0.1, 6.0, 10000)
    assert (trlx.num_rollouts, trlx.epochs, trlx.clip, trlx.value_clip, trlx.value_coef, trlx.whiten) == (512, 4, 0.2, 0.2, 0.2, True)
    assert (trlx.reward_clip, trlx.gamma, trlx.lam, trlx.response_length, trlx.baseline) == (10, 1, 0.95, 100, "reference")
    assert trlx.critic == "shared"
    chat = settings_of("experiment=sunzeyeah_pangu_ppo_deepspeed_chat", "data.scored_answers.path=F")
    assert (chat.kl, chat.kl_coef, chat.reward_clip, chat.whiten, chat.epochs) == ("fixed", 0.02, 5, False, 1)
    assert (chat.critic, chat.ptx_coef, chat.ema_beta, chat.gamma, chat.lam) == ("separate", 10, 0.992, 1, 0.95)


@pytest.mark.parametrize("recipe", ["trlx", "deepspeed_chat"])
def test_each_recipe_runs(recipe):
    words = [w for w in PPO if "epochs" not in w]
    result = run(ppo, [*words, f"ppo={recipe}", RUNS["causal"], "strategy=lora"])

    assert all(map(math.isfinite, result["loss_curve"])) and max(result["curves"]["first_ratio_error"]) < 1e-5
