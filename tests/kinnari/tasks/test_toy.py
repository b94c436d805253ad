"""debug=toy: what it changes of a recipe, what it leaves, and what a command may still set."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import DictConfig, OmegaConf

from kinnari.errors import ConfigError
from kinnari.tasks.compose import compose, conf_folder
from kinnari.tasks.config_errors import groups
from kinnari.tasks.toy import as_toy

# Everything that a toy may have otherwise than its recipe; nothing of it is what or how is learnt.
SIZE = ("output_dir", "toy", "model.shrunk", "model.dtype", "model.attention", "model.max_length", "model.adapter", "hw.", "batch.",
        "held_out.", "preparation.workers", "trainer.precision", "trainer.max_steps", "trainer.validate_every_n_steps", "strategy.parallel",
        "scheduler.warmup_steps", "generation.max_new_tokens", "generation.min_new_tokens", "task.samples", "task.prompts", "task.records",
        "ppo.iterations", "ppo.num_rollouts", "ppo.answers_per_prompt", "ppo.epochs", "ppo.response_length", "ppo.query_tokens",
        "ppo.held_out_prompts", "ppo.num_layers_unfrozen", "ppo.reward", "ppo.rule", "reward.path",
        "rlhf.sft", "rlhf.reward", "rlhf.evaluation")  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KINNARI_CACHE", str(folder))
        yield folder


def leaves(node: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value, as the files say it."""
    if isinstance(node, dict):
        return {key: value for name, child in node.items() for key, value in leaves(child, f"{prefix}{name}.").items()}
    return {prefix.removesuffix("."): node}


def values(cfg: DictConfig) -> dict[str, Any]:
    return leaves(OmegaConf.to_container(cfg, resolve=False))


def toy(*words: str) -> DictConfig:
    return as_toy(compose([*words, "debug=toy"]))


@pytest.mark.parametrize(
    "name", [name for name in groups()["experiment"] if not name.endswith(("ppo_trlx", "ppo_deepspeed_chat", "pantip"))]
)
def test_a_toy_differs_from_its_recipe_in_size_and_places_alone(name):
    recipe, small = values(compose([f"experiment={name}"])), values(toy(f"experiment={name}"))

    changed = {key for key in recipe.keys() | small.keys() if recipe.get(key) != small.get(key)}
    assert {key for key in changed if not key.startswith((*SIZE, "data."))} == set()
    assert {key.rpartition(".")[2] for key in changed if key.startswith("data.")} <= {"path", "target_path", "limit"}


def test_without_it_a_config_is_left_alone():
    cfg = compose(["experiment=rlhf_rule"])
    assert as_toy(cfg) is cfg


def test_twice_is_once():
    once = toy("experiment=wangchanglm_klongklon")
    assert values(as_toy(once)) == values(once)


def test_the_machine_is_that_of_hw_cpu_in_float32():
    written = yaml.safe_load((conf_folder() / "debug" / "toy.yaml").read_text(encoding="utf-8"))["hw"]
    assert written == OmegaConf.to_container(compose(["hw=cpu"]).hw) | {"precision": "32-true"}


def test_numbers_are_lowered_in_lists_too_and_smaller_ones_stay():
    small = toy("experiment=wangchanglm_ppo_llm", "ppo.epochs=1")

    assert small.ppo.response_length == [4, 8] and small.ppo.query_tokens == [4, 16] and small.ppo.epochs == 1
    assert small.ppo.num_layers_unfrozen is None and small.ppo.kl_coef == 0.2
    assert toy("experiment=jindo_alpaca_lora").scheduler.warmup_steps == 1


def test_a_command_has_the_last_word():
    small = toy(
        "experiment=jindo_guanaco_7b", "trainer.max_steps=7", "batch.micro_size=1", "toy.most.model.max_length=300", "toy.records=5"
    )

    assert (small.trainer.max_steps, small.batch.micro_size, small.model.max_length) == (7, 1, 300)
    assert small.data.openassistant_guanaco.limit == 5


def test_one_process_has_no_strategy_of_several_and_two_keep_the_recipes():
    words = ["experiment=lm_research_hub_llama7b"]
    assert toy(*words).strategy.parallel.name == "auto"
    assert toy(*words, "hw.devices=2").strategy.parallel.name == "fsdp"
    offloaded = toy("experiment=wangchanglm_full", "hw.devices=2").strategy.parallel
    assert offloaded.name == "deepspeed_zero3" and not offloaded.offload_optimizer and not offloaded.offload_parameters
    assert "device_map" not in toy("experiment=wangchanglm_single_world", "hw.devices=2").strategy.parallel


def test_files_that_are_here_are_read_and_others_replaced(tmp_path):
    here = tmp_path / "here.json"
    here.write_text("[]")
    small = toy("data=[alpaca,dolly,belle]", f"data.alpaca.path={here}", "data.dolly.path=databricks/databricks-dolly-15k")

    assert small.data.alpaca.path == str(here)
    rows = [json.loads(line) for line in Path(small.data.dolly.path).read_text(encoding="utf-8").splitlines()]
    assert rows and set(rows[0]) == {"instruction", "context", "response", "category"}
    assert Path(small.data.belle.path).name == "Belle.jsonl"
    some = toy("data=file", f"data.file.path=[{here},{tmp_path}/absent.json]")
    assert Path(some.data.file.path).name == "GenericFile.jsonl"


def test_sources_inside_a_source_are_filled_as_well():
    data = toy("data=wangchan_translated_parts").data

    assert Path(data.wangchan_th_dolly.originals.path).name == "Dolly.jsonl"
    assert data.wangchan_th_dolly.path == data.wangchan_th_chip2.path and Path(data.wangchan_th_chip2.path).is_file()


def test_a_source_of_ones_own_without_examples_is_told():
    with pytest.raises(ConfigError, match="no example rows for path of the source Mine"):
        toy("+data.mine={_target_: mine.Mine, path: nowhere}")


def test_a_reward_model_of_a_toy_is_kept_and_another_is_replaced(tmp_path):
    words = ["experiment=sunzeyeah_pangu_ppo_trlx"]
    first = toy(*words, f"reward.path={tmp_path}")  # holds no reward model

    assert toy(*words, f"reward.path={first.reward.path}").reward.path == first.reward.path
    told = json.loads((Path(first.reward.path) / "reward.json").read_text(encoding="utf-8"))
    assert told["model"]["shrunk"] and told["model"]["name"] == "pangu350m"
    big = tmp_path / "big"
    big.mkdir()
    (big / "reward.json").write_text(json.dumps(told | {"model": told["model"] | {"shrunk": False}}))
    assert toy(*words, f"reward.path={big}").reward.path == first.reward.path


def test_a_model_that_is_asked_stays_if_it_is_named():
    assert toy("experiment=wangchanglm_ppo_llm").ppo.reward == "rule"
    assert toy("experiment=wangchanglm_ppo_llm", "ppo.llm.model=judge").ppo.reward == "llm"
