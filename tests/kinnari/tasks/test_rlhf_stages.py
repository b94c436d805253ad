"""What the name of a stage's folder depends on, and how a stage's config comes out of the one config."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from kinnari.errors import ConfigError
from kinnari.tasks.compose import compose
from kinnari.tasks.rlhf import plan
from kinnari.tasks.rlhf_stages import contents, covered_by, moved, stage_config
from kinnari.tasks.rules import check

BASE = ("task=rlhf", "model=tiny_causal", "output_dir=/tmp/somewhere")


@functools.cache
def hashes(*overrides: str) -> dict[str, str]:
    return {stage.name: stage.hash for stage in plan(compose([*BASE, *overrides]))}


def changed(*overrides: str, beside: tuple[str, ...] = ()) -> list[str]:
    before, after = hashes(*beside), hashes(*beside, *overrides)
    return [name for name in before if before[name] != after[name]]


# --- hashes ----------------------------------------------------------------------------------------------------------------

ALL = ["sft", "reward", "ppo", "evaluation"]


def test_machine_folders_and_what_is_logged_or_saved_change_no_name():
    words = ["hw=v100x4", "batch.micro_size=1", "batch.num_workers=2", "output_dir=/tmp/elsewhere", "rlhf.root=/tmp/roots", "logger=none",
             "callbacks.samples.count=1", "checkpoint.every_n_steps=7", "preparation.workers=1", "preflight.records=0",
             "strategy/parallel=fsdp", "trainer.log_every_n_steps=5"]  # fmt: skip
    assert changed(*words, beside=("trainer.precision=32-true",)) == []


@pytest.mark.parametrize(
    ("override", "names"),
    [
        ("seed=43", ALL),
        ("optimizer.lr=1e-3", ALL),
        ("callbacks=early_stopping", ALL),
        ("data.chatterbot.limit=50", ["sft", "reward", "ppo", "evaluation"]),
        ("ppo.kl_coef=0.5", ["ppo", "evaluation"]),
        ("reward.margin=0.5", ["reward", "ppo", "evaluation"]),
        ("+rlhf.sft.trainer.max_steps=5", ALL),
        ("+rlhf.reward.trainer.max_steps=5", ["reward", "ppo", "evaluation"]),
        ('rlhf.reward.overrides=["data.chatterbot_ranked.limit=40"]', ["reward", "ppo", "evaluation"]),
        ('rlhf.ppo.overrides=["optimizer.lr=1e-5"]', ["ppo", "evaluation"]),
        ('rlhf.evaluation.overrides=["task.prompts=5"]', ["evaluation"]),
        ("rlhf.judge.model=somebody", ["evaluation"]),
    ],
)
def test_a_setting_changes_the_stages_that_depend_on_it_and_those_after_them(override, names):
    assert changed(override) == names


def test_without_a_reward_model_ppo_does_not_depend_on_one():
    assert changed("reward.margin=0.5", beside=("ppo.reward=rule",)) == ["reward", "evaluation"]


def test_the_order_of_settings_does_not_matter():
    one = hashes('rlhf.sft.overrides=["optimizer.lr=1e-3","trainer.max_steps=7"]')
    other = hashes('rlhf.sft.overrides=["trainer.max_steps=7","optimizer.lr=1e-3"]')
    assert one == other == hashes("+rlhf.sft.trainer.max_steps=7", "+rlhf.sft.optimizer.lr=1e-3")


def test_the_contents_of_data_files_are_part_of_the_name_and_their_times_are_not(tmp_path):
    file = tmp_path / "pairs.jsonl"
    words = ('rlhf.reward.overrides=["data=preference_pairs","data.preference_pairs.path=%s"]' % file,)  # noqa: UP031
    file.write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n', "utf-8")
    hashes.cache_clear()
    first = hashes(*words)
    file.write_text('{"prompt": "a", "chosen": "B", "rejected": "c"}\n', "utf-8")
    hashes.cache_clear()
    second = hashes(*words)
    file.write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n', "utf-8")
    hashes.cache_clear()

    assert [name for name in first if first[name] != second[name]] == ["reward", "ppo", "evaluation"]
    assert hashes(*words) == first


def test_a_folder_of_weights_is_known_by_what_it_holds(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    before = contents(str(tmp_path))
    (tmp_path / "config.json").write_text("[]")
    assert before is not None and contents(str(tmp_path)) != before
    assert contents("a/hub-id") is None and contents(None) is None


def test_the_hash_is_made_of_plain_values_that_can_be_read():
    (sft, *_) = plan(compose(list(BASE)))
    covered = covered_by("sft", sft.cfg, {})
    assert json.loads(json.dumps(covered)) == covered == sft.covered
    assert "micro_size" not in covered["config"]["batch"] and "parallel" not in covered["config"]["strategy"]
    assert str(sft.folder) not in json.dumps(covered)


def test_values_move_with_their_folder_and_nothing_else_does():
    values = {"a": "/run", "b": ["/run/best", "/running"], "c": 3, "d": "see /run"}
    assert moved(values, "/run", "/x") == {"a": "/x", "b": ["/x/best", "/running"], "c": 3, "d": "see /run"}


# --- configs ---------------------------------------------------------------------------------------------------------------


def test_every_stage_is_an_ordinary_config_in_a_folder_of_its_own(tmp_path):
    stages = plan(compose([*BASE, f"rlhf.root={tmp_path}", "callbacks=[default,export_best]"]))
    for stage, task in zip(stages, ("sft", "reward", "ppo", "compare"), strict=True):
        assert stage.cfg.task.name == task and "rlhf" not in stage.cfg
        assert stage.folder == Path(tmp_path) / f"{stage.name}-{stage.hash}"
        assert stage.cfg.callbacks.export_best.folder == f"{stage.folder}/best"
        alone = OmegaConf.create(OmegaConf.to_container(stage.cfg, resolve=True))
        alone.model.adapter = None  # the folder of the stage before, which has not run
        check(alone)


def test_a_stage_has_the_callbacks_its_task_has_by_itself_unless_others_are_chosen():
    for stage in plan(compose(list(BASE)))[:3]:
        assert list(stage.cfg.callbacks) == list(compose([f"task={stage.name}"]).callbacks)
    assert not any(stage.cfg.callbacks for stage in plan(compose([*BASE, "callbacks=none"])))


def test_adapters_go_on_from_the_adapter():
    sft, reward, ppo, evaluation = plan(compose([*BASE, "strategy=qlora"]))
    assert reward.cfg.model.adapter == ppo.cfg.model.adapter == str(sft.folder / "adapter")
    assert ppo.cfg.reward.path == str(reward.folder / "reward")
    assert (evaluation.cfg.task.before, evaluation.cfg.task.after) == (str(sft.folder / "adapter"), str(ppo.folder / "adapter"))
    assert not sft.cfg.task.export_merged


@pytest.mark.parametrize("words", [("strategy=full",), ('rlhf.ppo.overrides=["strategy/tuning=full"]',)])
def test_all_weights_go_on_from_the_weights(words):
    sft, _, ppo, evaluation = plan(compose([*BASE, *words]))
    assert ppo.cfg.model.path == str(sft.folder / "merged") and ppo.cfg.model.adapter is None and ppo.cfg.model.toy is None
    assert (evaluation.cfg.task.before, evaluation.cfg.task.after) == (str(sft.folder / "merged"), str(ppo.folder / "merged"))
    assert sft.cfg.task.export_merged


def test_a_reward_model_on_a_model_of_its_own_does_not_come_from_the_sft_run():
    words = ('rlhf.reward.overrides=["model=smollm2_135m"]', "model=tiny_seq2seq")
    sft, reward, ppo, _ = plan(compose([*BASE, *words]))
    assert reward.cfg.model.name == "smollm2_135m" and reward.cfg.model.adapter is None and reward.covered["parents"] == {}
    assert ppo.covered["parents"] == {"sft": sft.hash, "reward": reward.hash}
    assert changed("+rlhf.sft.trainer.max_steps=5", beside=words) == ["sft", "ppo", "evaluation"]


def test_an_encoder_decoder_is_its_own_reward_model():
    stages = plan(compose([*BASE, "model=tiny_seq2seq"]))
    assert [stage.cfg.model.name for stage in stages] == ["tiny_seq2seq"] * 4
    assert stages[2].covered["parents"] == {"sft": stages[0].hash, "reward": stages[1].hash}


def test_the_stages_of_the_default_read_data_that_suits_them():
    sft, reward, ppo, evaluation = plan(compose(list(BASE)))
    assert [list(stage.cfg.data) for stage in (sft, reward, ppo, evaluation)] == [["chatterbot"], ["chatterbot_ranked"], ["chatterbot"],
                                                                                   ["chatterbot"]]  # fmt: skip


def test_answers_are_compared_at_the_length_ppo_trained_on_and_on_its_data():
    words = ("ppo.response_length=[3,9]", 'rlhf.ppo.overrides=["data=dolly","data.dolly.path=launch.py","task.export_merged=false"]')
    evaluation = plan(compose([*BASE, *words]))[-1]
    assert evaluation.cfg.generation.max_new_tokens == 9 and list(evaluation.cfg.data) == ["dolly"]


def test_later_words_hold_and_a_new_setting_takes_a_plus():
    cfg = compose(list(BASE))
    own = {"trainer": {"max_steps": 3}, "overrides": ["trainer.max_steps=4", "+model.spice=hot", "optimizer=lion", "optimizer.lr=1"]}
    told = stage_config(cfg, "sft", own)
    assert (told.trainer.max_steps, told.model.spice, told.optimizer.name, told.optimizer.lr) == (4, "hot", "lion", 1)


@pytest.mark.parametrize(
    ("own", "says"),
    [
        ({"overrides": ["trainer.max_stepz=3"]}, r"rlhf\.sft: trainer\.max_stepz does not exist.*max_steps"),
        ({"trainer": {"max_stepz": 3}}, r"trainer\.max_stepz does not exist"),
        ({"overrides": ["model=xglm7b"]}, "cannot differ between stages"),
        ({"overrides": ["hw.devices=2"]}, "belongs to the chain"),
        ({"overrides": ["~data"]}, "nothing else"),
        ({"overrides": "trainer.max_steps=3"}, "must be a list"),
        (["trainer.max_steps=3"], "replaces the stage's settings"),
        ({"overrides": ["optimizer=adamm"]}, "optimizer=adamm is unknown"),
        ({"overrides": ["trainer.max_steps=1,2"]}, "nothing else"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused(own, says):
    with pytest.raises(ConfigError, match=says):
        stage_config(compose(list(BASE)), "sft", own)


def test_weights_that_are_not_written_cannot_be_gone_on_with():
    words = ('rlhf.sft.overrides=["task.export_merged=false"]', 'rlhf.ppo.overrides=["strategy/tuning=full"]')
    with pytest.raises(ConfigError, match="export_merged=false"):
        plan(compose([*BASE, *words]))


def test_paths_move_with_the_stage_but_those_of_other_stages_stay():
    values = {"a": "/run/checkpoints", "b": ["/run", "/runs/x"], "c": "/run/stages/sft-01/adapter", "d": 3}
    assert moved(values, "/run", "/run/stages/ppo-02", kept="/run/stages") == {
        "a": "/run/stages/ppo-02/checkpoints", "b": ["/run/stages/ppo-02", "/runs/x"], "c": "/run/stages/sft-01/adapter", "d": 3
    }  # fmt: skip
    assert moved("/run/stages", "/run", "") == "/stages"


def test_a_source_that_a_stage_shares_with_the_command_reads_the_commands_file():
    words = ["data=[hh_rlhf_pairs]", "rlhf.reward.data=[hh_rlhf_pairs,chatterbot_ranked]", "data.hh_rlhf_pairs.path=pairs.jsonl",
             "data.hh_rlhf_pairs.limit=9"]  # fmt: skip
    cfg = compose([*BASE, *words])
    settings = OmegaConf.to_container(cfg.rlhf.reward)
    reward = stage_config(cfg, "reward", settings)
    assert list(reward.data) == ["hh_rlhf_pairs", "chatterbot_ranked"]
    assert (reward.data.hh_rlhf_pairs.path, reward.data.hh_rlhf_pairs.limit) == ("pairs.jsonl", 9)
    own = stage_config(cfg, "reward", settings, {"overrides": ["data.hh_rlhf_pairs.limit=5"]})
    assert (own.data.hh_rlhf_pairs.path, own.data.hh_rlhf_pairs.limit) == ("pairs.jsonl", 5)
