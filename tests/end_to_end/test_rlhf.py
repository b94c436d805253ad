"""task=rlhf from command line words: the chain, what is done once, what is gone on with, and every stage by itself."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from kinnari.errors import ConfigError
from kinnari.rollouts.reward_model import ModelReward
from kinnari.tasks import build, rlhf
from kinnari.tasks.compose import compose
from kinnari.tasks.recorder import RunRecorder
from kinnari.tasks.rewards import reward_function
from kinnari.tasks.run import freeze, run_task
from tests.kinnari.completion.server import Reply, chat_answer, serving

ROOT = Path(__file__).resolve().parents[2]
CHAIN = ("task=rlhf", "model=tiny_causal", "callbacks=none", "logger=none", "trainer.precision=32-true", "batch.global_size=8",
         "data.chatterbot.limit=60", "held_out.fraction=null", "held_out.most=6", "trainer.max_steps=4", "checkpoint.every_n_steps=2",
         "ppo.iterations=4", "ppo.num_rollouts=8", "ppo.epochs=1", "ppo.response_length=6", "ppo.held_out_prompts=2", "optimizer.lr=1e-3",
         "checkpoint.keep=9", 'rlhf.reward.overrides=["data.chatterbot_ranked.limit=40"]')  # fmt: skip
NAMES = ["sft", "reward", "ppo", "evaluation"]


def chain(root: Path, *overrides: str, out: str = "run") -> dict[str, Any]:
    return run_task(freeze(compose([*CHAIN, f"rlhf.root={root}/stages", f"output_dir={root}/{out}", *overrides])))


def statuses(result: dict[str, Any]) -> list[str]:
    assert [stage["name"] for stage in result["stages"]] == NAMES[: len(result["stages"])]
    return [stage["status"] for stage in result["stages"]]


def folder(result: dict[str, Any], name: str) -> Path:
    return next(Path(stage["folder"]) for stage in result["stages"] if stage["name"] == name)


def stored(result: dict[str, Any], name: str) -> dict[str, Any]:
    return json.loads((folder(result, name) / "result.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    root = tmp_path_factory.mktemp("chain")
    return root, chain(root)


@pytest.fixture
def copied(done: tuple[Path, dict[str, Any]], tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """The finished chain in a place of its own; names of folders do not depend on the place, but paths in configs and results do."""
    root, result = done
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    for file in [*tmp_path.rglob("*.json"), *tmp_path.rglob("config.yaml")]:
        file.write_text(file.read_text("utf-8").replace(str(root), str(tmp_path)), "utf-8")
    return tmp_path, json.loads(json.dumps(result).replace(str(root), str(tmp_path)))


def test_the_chain_ends_with_a_result_and_a_page(done):
    root, result = done
    told = json.loads((root / "run" / "result.json").read_text("utf-8"))

    assert result["status"] == told["status"] == "done" and statuses(told) == ["done"] * 4
    for stage in told["stages"]:
        assert Path(stage["folder"]) == root / "stages" / f"{stage['name']}-{stage['hash']}" and stage["seconds"] > 0
    assert told["wins"] + told["ties"] + told["losses"] == told["prompts"] == len(told["samples"]) > 2
    assert told["win_rate"] == pytest.approx((told["wins"] + told["ties"] / 2) / told["prompts"])
    assert told["reward_gain"] == pytest.approx(told["reward_ppo"] - told["reward_sft"])
    assert told["reward_gain_low"] <= told["reward_gain"] <= told["reward_gain_high"] and 0 < told["reward_sign_p"] <= 1
    assert {"prompt", "reference", "before", "after", "score_before", "score_after"} <= told["samples"][0].keys()
    html = (root / "run" / "report.html").read_text("utf-8")
    assert all(folder(told, name).name in html for name in NAMES)
    assert (Path(told["adapter_dir"]) / "adapter_config.json").is_file() and Path(told["merged_dir"]).is_dir()


def test_the_comparison_sees_what_ppo_saw(done):
    """Two ways to the same greedy answers: PPO's own validation, and the saved models loaded again."""
    _, result = done
    ppo = stored(result, "ppo")
    inside = {sample["prompt"]: sample for sample in ppo["samples"]}
    outside = {sample["prompt"]: sample for sample in result["samples"]}

    assert len(inside) == 2 and inside.keys() <= outside.keys()
    for prompt, sample in inside.items():
        for side in ("before", "after"):
            assert outside[prompt][side] == sample[side]
            assert outside[prompt][f"score_{side}"] == pytest.approx(sample[f"score_{side}"], abs=1e-4)


def test_policy_and_reward_model_of_the_chain_share_one_backbone(done):
    cfg = OmegaConf.load(folder(done[1], "ppo") / "config.yaml")
    assert isinstance(cfg, DictConfig)
    parts = build.parts(cfg)
    policy = build.tuned_model(cfg, parts, build.tokenizer(cfg))
    reward = reward_function(cfg, parts, policy)

    assert isinstance(reward, ModelReward) and reward.adapter == "reward" and reward.model is policy


def test_done_once_is_done(copied, monkeypatch):
    root, first = copied

    def never(cfg: DictConfig) -> None:
        raise AssertionError(f"{cfg.task.name} ran again")

    monkeypatch.setattr(rlhf, "execute", never)
    second = chain(root, "batch.micro_size=4", out="again")

    assert statuses(second) == ["cached"] * 4 and second["status"] == "done"
    same = ("win_rate", "reward_sft", "reward_ppo", "samples")
    assert {key: second[key] for key in same} == {key: first[key] for key in same}
    assert (root / "again" / "report.html").is_file()


def test_another_ppo_setting_shares_the_sft_run_and_the_reward_model(copied):
    root, first = copied
    other = chain(root, "ppo.kl_coef=0.5", out="other")

    assert statuses(other) == ["cached", "cached", "done", "done"]
    assert folder(other, "sft") == folder(first, "sft") and folder(other, "ppo") != folder(first, "ppo")


def test_another_sft_setting_does_everything_again(copied):
    root, first = copied
    other = chain(root, "+rlhf.sft.trainer.max_steps=2", out="other")

    assert statuses(other) == ["done"] * 4
    assert not {stage["folder"] for stage in other["stages"]} & {stage["folder"] for stage in first["stages"]}


@pytest.mark.parametrize(("name", "kept"), [("reward", "step_00000002.ckpt"), ("ppo", "step_00000002.ckpt")])
def test_a_killed_stage_goes_on_inside_and_comes_to_the_same_end(copied, name, kept, caplog):
    root, first = copied
    stage, whole = folder(first, name), stored(first, name)
    for file in (stage / "checkpoints").glob("*.ckpt"):
        if file.name != kept:
            file.unlink()
    (stage / "result.json").unlink()
    for product in ("adapter", "merged", "reward"):
        shutil.rmtree(stage / product, ignore_errors=True)

    with caplog.at_level("INFO"):
        again = chain(root, out="again")

    assert f"resuming from {stage / 'checkpoints' / kept}" in caplog.text
    assert statuses(again) == ["done" if n == name else "cached" for n in NAMES]
    assert stored(again, name)["loss_curve"] == whole["loss_curve"] and len(whole["loss_curve"]) == 4


def test_a_stage_whose_model_was_deleted_is_done_again(copied):
    root, first = copied
    shutil.rmtree(folder(first, "reward") / "reward")

    assert statuses(chain(root, out="again")) == ["cached", "done", "cached", "cached"]


def test_a_chain_that_was_asked_to_stop_says_so_and_goes_on(tmp_path, monkeypatch):
    original = RunRecorder.on_train_batch_start

    def stop_at_second(self, trainer, module, batch, index):
        original(self, trainer, module, batch, index)
        if trainer.global_step == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(RunRecorder, "on_train_batch_start", stop_at_second)
        stopped = chain(tmp_path)
    assert stopped["status"] == "interrupted" and statuses(stopped) == ["interrupted"] and stopped["win_rate"] is None
    assert not (tmp_path / "run" / "report.html").exists()

    result = chain(tmp_path)
    assert statuses(result) == ["done"] * 4 and stored(result, "sft")["steps"] == 4


def test_all_weights_trained_go_from_folder_to_folder(tmp_path):
    result = chain(tmp_path, "strategy=full")

    assert statuses(result) == ["done"] * 4
    cfg = OmegaConf.load(folder(result, "ppo") / "config.yaml")
    assert cfg.model.path == str(folder(result, "sft") / "merged") and result["adapter_dir"] is None
    ppo = stored(result, "ppo")
    assert ppo["ppo/first_ratio_error"] < 1e-5 and ppo["curves"]["kl"][0] == pytest.approx(0, abs=1e-6)
    inside = {sample["prompt"]: sample["before"] for sample in ppo["samples"]}
    assert {s["prompt"]: s["before"] for s in result["samples"] if s["prompt"] in inside} == inside


@pytest.mark.parametrize("scorer", ["tiny_seq2seq", "tiny_encoder"])
def test_an_encoder_decoder_is_aligned_by_a_reward_model_of_its_own_or_another_kind(tmp_path, scorer):
    result = chain(tmp_path, "model=tiny_seq2seq", f'rlhf.reward.overrides=["model={scorer}","data.chatterbot_ranked.limit=40"]')

    assert statuses(result) == ["done"] * 4
    inside = {sample["prompt"]: sample["after"] for sample in stored(result, "ppo")["samples"]}
    assert {s["prompt"]: s["after"] for s in result["samples"] if s["prompt"] in inside} == inside


def test_a_mistake_in_a_later_stage_is_told_before_the_first_begins(tmp_path):
    with pytest.raises(ConfigError, match=r"batch\.global_size=7"):
        chain(tmp_path, 'rlhf.ppo.overrides=["batch.global_size=7"]')
    assert not (tmp_path / "stages").exists()


def test_a_judge_behind_an_endpoint_is_asked_in_both_orders(copied):
    with serving(lambda number, body: Reply(body=chat_answer("A"))) as seen:
        result = chain(copied[0], "rlhf.judge.model=somebody", f"rlhf.judge.url={seen.url}", out="judged")

    assert statuses(result) == ["cached", "cached", "cached", "done"]
    assert len(seen.bodies) == 2 * result["prompts"] and seen.bodies[0]["model"] == "somebody"
    assert (result["judge_win_rate"], result["judge_ties"]) == (0.5, result["prompts"])  # it always says A, so nobody wins
    assert "judged by somebody" in (copied[0] / "judged" / "report.html").read_text("utf-8")


@pytest.mark.parametrize(("word", "says"), [("reward.path=/somewhere", "a reward model of its own"), ("hw.num_nodes=2", "num_nodes")])
def test_what_the_chain_cannot_do_is_refused(tmp_path, word, says):
    with pytest.raises(ConfigError, match=says):
        chain(tmp_path, word)


def command(line: Sequence[str], **env: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, str(ROOT / "launch.py"), *line], env=os.environ | env, capture_output=True, text=True,
                          timeout=300, check=False)  # fmt: skip


def test_the_command_on_the_page_runs_a_stage_by_itself(copied):
    _, result = copied
    stage = result["stages"][-1]
    (folder(result, "evaluation") / "result.json").unlink()

    ended = command(stage["command"].removeprefix("python launch.py ").split())

    assert ended.returncode == 0, ended.stderr
    assert stored(result, "evaluation")["status"] == "done"


@pytest.mark.slow
def test_stages_run_on_ranks_where_the_machine_has_several_devices(tmp_path):
    words = [*CHAIN, "hw=cpux2", f"rlhf.root={tmp_path}/stages", f"output_dir={tmp_path}/run"]
    ended = command(words, OMP_NUM_THREADS="1")

    assert ended.returncode == 0, ended.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text("utf-8"))
    assert statuses(result) == ["done"] * 4 and (folder(result, "ppo") / "logs" / "rank_1.log").is_file()
