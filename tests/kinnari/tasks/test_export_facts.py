"""The facts of a card are those of the checkpoint that is exported, and hold no place of this machine."""

import json
import math

import pytest
import torch

from kinnari.tasks.compose import compose
from kinnari.tasks.export_facts import card_facts, command, hub_datasets, measured_of
from tests.kinnari.models.specs import toy_spec

RESULT = {
    "steps": 10, "val/loss_before": 3.0, "val/loss_after": 2.0, "val/perplexity_before": math.exp(3), "val/perplexity_after": math.exp(2),
    "val/token_accuracy": 0.5, "precision": "bf16-mixed", "versions": {"torch": "2.13.0", "deepspeed": None},
}  # fmt: skip
SOURCE = {"alpaca": {"licence": "CC-BY-NC-4.0", "files": [], "train": 5}}


@pytest.fixture
def run_dir(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / ".hydra").mkdir()
    (tmp_path / "result.json").write_text(json.dumps(RESULT))
    (tmp_path / "data" / "lineage.json").write_text(json.dumps(SOURCE))
    return tmp_path


def checkpoint(step, best_path="", score=None):
    state = {"best_model_path": best_path, "best_model_score": None if score is None else torch.tensor(score)}
    return {"global_step": step, "callbacks": {"ModelCheckpoint{'monitor': 'val/loss'}": state}}


def test_the_last_checkpoint_has_the_metrics_of_the_result(run_dir):
    for state in (checkpoint(10), None):  # None: the folders at the end of the run
        found = measured_of(run_dir, state, "step_00000010.ckpt")
        assert found.after == {"loss": 2.0, "perplexity": math.exp(2), "token_accuracy": 0.5} and found.before["loss"] == 3.0
        assert found.steps == 10 and found.precision == "bf16-mixed" and found.versions == {"torch": "2.13.0"} and found.sources == SOURCE


def test_the_best_checkpoint_has_the_loss_it_was_kept_for(run_dir):
    found = measured_of(run_dir, checkpoint(6, "/elsewhere/best/step_00000006.ckpt", 1.5), "step_00000006.ckpt")
    assert found.after == {"loss": 1.5, "perplexity": pytest.approx(math.exp(1.5))} and found.steps == 6


def test_another_checkpoint_has_no_metrics_rather_than_those_of_another_step(run_dir):
    found = measured_of(run_dir, checkpoint(4, "/elsewhere/best/step_00000006.ckpt", 1.5), "step_00000004.ckpt")
    assert found.after == {} and found.before["loss"] == 3.0


def test_a_run_that_left_only_weights_has_no_facts_but_its_step(tmp_path):
    found = measured_of(tmp_path, checkpoint(4), "step_00000004.ckpt")
    assert (found.sources, found.before, found.after, found.command, found.steps) == ({}, {}, {}, None, 4)


def test_the_command_holds_no_place_of_this_machine(run_dir):
    lines = ["model=tiny_causal", "data.alpaca.path=/home/someone/secret/rows.jsonl", "output_dir=/home/someone/out", "optimizer.lr=1e-3"]
    (run_dir / ".hydra" / "overrides.yaml").write_text("".join(f"- {line}\n" for line in [*lines, "checkpoint.resume=auto"]))
    assert command(run_dir) == "python launch.py model=tiny_causal data.alpaca.path=rows.jsonl optimizer.lr=1e-3"


def test_hub_ids_are_told_for_the_base_and_the_data_that_came_from_the_hub(run_dir):
    run = compose(["model=xglm564m", "data=alpaca", "data.alpaca.path=tatsu-lab/alpaca"])
    assert hub_datasets(run, SOURCE) == ["tatsu-lab/alpaca"]
    assert hub_datasets(run, {"alpaca": {"files": [{"file": "a.json"}]}}) == []
    facts = card_facts(run, toy_spec(path="facebook/xglm-564M", toy=None, licence="MIT"), "lora", measured_of(run_dir, None, None))
    assert facts.base_model == "facebook/xglm-564M" and facts.datasets == ["tatsu-lab/alpaca"] and facts.licence == "MIT"
    assert facts.settings["optimizer steps"] == 10 and facts.settings["learning rate"] == run.optimizer.lr


def test_toy_weights_have_no_hub_id(run_dir):
    facts = card_facts(compose(["model=tiny_causal"]), toy_spec(), "full", measured_of(run_dir, None, None))
    assert facts.base_model is None and facts.base == "tiny_causal" and "r" not in facts.settings
