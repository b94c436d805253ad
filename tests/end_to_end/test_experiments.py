"""`debug=toy`: every experiment from its data to its result in seconds, nothing downloaded; and choices of all groups drawn together."""

from __future__ import annotations

import csv
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file

from kinnari.errors import ConfigError
from kinnari.tasks.compose import compose, conf_folder
from kinnari.tasks.config_errors import groups
from kinnari.tasks.run import run
from kinnari.tasks.toy import as_toy
from tests.end_to_end.shrunk_models import WRITERS
from tests.kinnari.completion.server import Reply, chat_answer, serving

EXPERIMENTS = groups()["experiment"]
CHAINS = [name for name in EXPERIMENTS if name in ("rlhf_demo", "rlhf_human", "rlhf_small")]
LEAVES = {"sft": "merged_dir", "reward": "reward_dir", "ppo": "adapter_dir"}
QUIET = ("callbacks=none", "logger=none")


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    """A cache of this file's own, and a hub that must not be asked."""
    folder = tmp_path_factory.mktemp("cache")

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the hub was asked")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KINNARI_CACHE", str(folder))
        patch.setattr("huggingface_hub.snapshot_download", refuse)
        patch.setattr("huggingface_hub.hf_hub_download", refuse)
        patch.setattr("huggingface_hub.HfApi.dataset_info", refuse)
        yield folder


def toy(folder: Path, *words: str) -> dict[str, Any]:
    """result.json of a run under debug=toy."""
    run(compose([*words, "debug=toy", f"output_dir={folder}", f"rlhf.root={folder}-stages"]))
    return json.loads((folder / "result.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name not in CHAINS])
def test_an_experiment_runs_from_its_data_to_its_result(name, tmp_path):
    result = toy(tmp_path, f"experiment={name}")

    assert result["status"] == "done" and result["seconds"] < 120
    if result["task"] in LEAVES:
        assert result["loss_curve"] and all(map(math.isfinite, result["loss_curve"]))
        assert result["steps"] == len(result["loss_curve"]) <= 8
        left = result.get(LEAVES[result["task"]]) or result.get("merged_dir")
        assert left is None or any(Path(left).iterdir())
        assert left is not None or name == "rlhf_rule"
    elif result["task"] == "prepare":
        assert result["train"] > 0 and result["held_out"] == 4
    else:
        assert result["task"] == "generate"


@pytest.mark.slow
@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_runs_through_its_four_stages(name, tmp_path):
    result = toy(tmp_path, f"experiment={name}")

    assert [stage["status"] for stage in result["stages"]] == ["done"] * 4 and 0 <= result["win_rate"] <= 1


def test_a_model_of_65_billion_leaves_a_folder_that_transformers_loads(tmp_path, cache):
    from transformers import AutoModelForCausalLM

    result = toy(tmp_path, "experiment=jindo_guanaco_65b", *QUIET)

    merged = AutoModelForCausalLM.from_pretrained(result["merged_dir"])
    assert (merged.config.model_type, merged.config.hidden_size, merged.config.vocab_size) == ("llama", 64, 262)
    base = json.loads((Path(result["adapter_dir"]) / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert Path(base).is_relative_to(cache)


def test_poems_go_on_from_an_adapter(tmp_path):
    cfg = as_toy(compose(["experiment=wangchanglm_klongklon", "debug=toy"]))
    result = toy(tmp_path, "experiment=wangchanglm_klongklon", *QUIET, "optimizer.lr=0.0", "optimizer.weight_decay=0.0")

    begun, ended = (load_file(Path(folder) / "adapter_model.safetensors") for folder in (cfg.model.adapter, result["adapter_dir"]))
    assert begun.keys() == ended.keys() and all((begun[key] == ended[key]).all() for key in begun)
    assert any(begun[key].abs().max() > 0 for key in begun if "lora_B" in key)
    assert {tensor.shape[0] for key, tensor in begun.items() if "lora_A" in key} == {128}


def test_a_language_model_that_is_named_is_asked_for_the_reward(tmp_path):
    with serving(lambda number, body: Reply(body=chat_answer(f"Overall Score: 0.{number % 9 + 1}"))) as seen:
        toy(tmp_path, "experiment=wangchanglm_ppo_llm", *QUIET, f"ppo.llm.url={seen.url}", "ppo.llm.model=judge")

    with (tmp_path / "asked.csv").open(encoding="utf-8", newline="") as stream:
        scores = [row[3] for row in csv.reader(stream)]
    assert len(seen.bodies) >= len(scores) >= 16 and {float(score) for score in scores} <= {i / 10 for i in range(1, 10)}


# --- any choice -----------------------------------------------------------------------------------------------------------

RANKED = ("scored_answers", "hh_rlhf_pairs", "couplets", "weibo", "zhidao", "pantip", "preference_columns", "preference_pairs",
          "answer_votes", "classical_modern", "chinese_poetry", "chatterbot_ranked")  # fmt: skip
ASKED = [name for name in groups()["data"] if name != "plain_text"]  # documents ask nothing: experiment=continued_pretraining
STRATEGIES = ("strategy=lora", "strategy=qlora", "strategy=full", "strategy=fsdp", "strategy=deepspeed", "strategy/tuning=lora_int8")


def drawn(count: int, seed: int, task: str, data: list[str]) -> list[tuple[str, ...]]:
    """So many combinations of task, model, strategy, data, optimizer and machine, each model and source at most once."""
    draw = random.Random(seed)
    models, sources = draw.sample(WRITERS, count), draw.sample(data, count)
    return [
        (f"task={task}", f"model={model}", draw.choice(STRATEGIES), f"data={source}", f"hw={draw.choice(groups()['hw'])}",
         f"scheduler={draw.choice(groups()['scheduler'])}", f"packing={draw.choice(('auto', 'length_grouped'))}")
        for model, source in zip(models, sources, strict=True)
    ]  # fmt: skip


DRAWN = [*drawn(8, 1, "sft", ASKED), *drawn(2, 2, "reward", list(RANKED)), *drawn(2, 3, "dpo", list(RANKED)), *drawn(2, 4, "ppo", ASKED)]


@pytest.mark.parametrize("words", DRAWN, ids=lambda words: "-".join(word.partition("=")[2] for word in words))
def test_choices_that_nobody_put_together_run(words, tmp_path):
    result = toy(tmp_path, *words, *QUIET, "task.export_merged=false" if "reward" not in words[0] else "seed=7")

    assert result["status"] == "done" and all(map(math.isfinite, result["loss_curve"])) and result["steps"] >= 3


def test_every_source_fills_a_toy(tmp_path):
    """All at once: each is read, rendered and stored; none of them is asked for a file."""
    result = toy(tmp_path, "task=prepare", "model=tiny_causal", f"data=[{','.join(ASKED)}]")

    card = json.loads((tmp_path / "data_card.json").read_text(encoding="utf-8"))
    names = [name for option in ASKED for name in yaml.safe_load((conf_folder() / "data" / f"{option}.yaml").read_text("utf-8"))]
    assert set(card["sources"]) == set(names) and result["train"] > 5 * len(names)
    assert all(source["train"] + source["held_out"] > 0 for source in card["sources"].values())


def test_a_rule_of_the_recipe_still_holds(tmp_path):
    with pytest.raises(ConfigError, match="loss_on=everything means nothing"):
        toy(tmp_path, "experiment=sunzeyeah_glm_sft", "loss_on=everything")
