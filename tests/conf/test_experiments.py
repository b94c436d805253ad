"""The published recipes of four systems: their values, and whether they fit the machines they were published for."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
from omegaconf import OmegaConf

from kinnari.errors import ConfigError
from kinnari.tasks import build
from kinnari.tasks.compose import compose, conf_folder
from kinnari.tasks.config_errors import groups
from kinnari.tasks.estimating import Estimator
from kinnari.tasks.plan_request import plan_request
from kinnari.tasks.plan_tokens import tokens_of

# model, tuning, parallel | rate, records a step and a forward, epochs or steps, tokens, warm-up | GiB: planned peak, of a device
RECIPES = """
wangchanglm_multi_world             xglm7b           lora_int8 auto             2e-5    128  1   3     512  0.00025 16/32
wangchanglm_single_world            xglm7b           lora_int8 single           2e-5    128  2   3     512  0.00025 -
wangchanglm_full                    xglm7b           full      deepspeed_zero3  2e-5    1024 8   3     512  0.00025 30/80
wangchanglm_klongklon               xglm7b           lora_int8 auto             2e-5    128  1   10    512  0.1     16/32
wangchanglm_reward                  xlm_roberta_base full      auto             2e-5    16   8   2     512  0.1     9/32
wangchanglm_ppo_pantip              xglm1_7b         full      auto             2.94e-5 8    1   1     640  0.0     46/80
wangchanglm_ppo_llm                 xglm7b           lora_int8 auto             1.41e-5 2    2   1     1024 0.0     24/32
lm_research_hub_llama7b             llama7b          full      fsdp             2e-5    128  4   3     512  0.03    42/80
lm_research_hub_bloomz7b1_mt        bloomz7b1_mt     full      fsdp             2e-5    128  4   3     512  0.03    46/80
lm_research_hub_galactica6_7b       galactica6_7b    full      fsdp             2e-5    128  4   3     512  0.03    42/80
lm_research_hub_flan_t5_xxl         flan_t5_xxl      full      fsdp             2e-5    128  1   3     512  0.03    57/80
jindo_alpaca_lora                   llama7b          lora_int8 auto             1e-4    128  4   3     512  100     12/32
jindo_alpaca_lora_qkvo              llama7b          lora_int8 auto             3e-4    128  8   10    512  100     16/32
jindo_guanaco_7b                    llama7b          qlora     auto             2e-4    16   1   1875  528  0.03    8/24
jindo_guanaco_13b                   llama13b         qlora     auto             2e-4    16   1   1875  528  0.03    12/24
jindo_guanaco_33b                   llama30b         qlora     auto             1e-4    16   1   1875  528  0.03    25/24
jindo_guanaco_65b                   llama65b         qlora     auto             1e-4    16   1   1875  528  0.03    47/80
jindo_llama2_chat                   llama2_7b        qlora     auto             1e-4    16   1   3     4096 0.03    9/32
sunzeyeah_pangu_sft                 pangu2_6b        full      deepspeed_zero2  1e-6    128  8   1     512  0.1     20/80
sunzeyeah_glm_sft                   glm335m          full      deepspeed_zero2  1e-6    128  8   1     512  0.1     6/80
sunzeyeah_pangu_reward              pangu350m        full      auto             1e-6    128  16  1     512  0.1     18/80
sunzeyeah_glm_reward                glm335m          full      auto             1e-6    128  16  1     512  0.1     18/80
sunzeyeah_pangu_ppo_trlx            pangu350m        full      auto             5e-6    16   4   1     1024 0.0     13/80
sunzeyeah_glm_ppo_trlx              glm335m          full      auto             5e-6    1    1   1     512  0.0     9/80
sunzeyeah_pangu_ppo_deepspeed_chat  pangu350m        lora      auto             1e-5    16   4   1     512  0.03    9/80
sunzeyeah_glm_ppo_deepspeed_chat    glm335m          lora      auto             1e-5    16   4   1     512  0.03    9/80
"""
TABLE = {row.split()[0]: row.split()[1:] for row in RECIPES.strip().splitlines()}
SYSTEMS = ("wangchanglm_", "lm_research_hub_", "jindo_", "sunzeyeah_")
NO_TRAINING = ("wangchanglm_data", "lm_research_hub_zbench")
LORA = {  # r, alpha, dropout
    **dict.fromkeys(
        ("wangchanglm_multi_world", "wangchanglm_single_world", "wangchanglm_klongklon", "wangchanglm_ppo_llm"), (128, 32, 0.05)
    ),
    "jindo_alpaca_lora": (8, 16, 0.05),
    "jindo_alpaca_lora_qkvo": (16, 16, 0.05),
    "jindo_guanaco_7b": (64, 16, 0.1),
    **dict.fromkeys(("jindo_guanaco_13b", "jindo_guanaco_33b", "jindo_guanaco_65b"), (64, 16, 0.05)),
    "jindo_llama2_chat": (64, 16, 0.0),
}


def header_words(name: str) -> list[str]:
    """The command of the file's header."""
    text = (conf_folder() / "experiment" / f"{name}.yaml").read_text(encoding="utf-8")
    return shlex.split(re.findall(r"python launch\.py (.*)", text)[0])


def recipe(name: str) -> Any:
    return compose(header_words(name))


def test_every_recipe_is_in_the_table():
    assert {name for name in groups()["experiment"] if name.startswith(SYSTEMS)} == {*TABLE, *NO_TRAINING}


@pytest.mark.parametrize("name", TABLE)
def test_a_recipe_has_the_published_values(name):
    cfg = recipe(name)
    model, tuning, parallel, rate, global_size, micro_size, length, tokens, warmup = TABLE[name][:9]

    assert (cfg.model.name, cfg.strategy.tuning.name, cfg.strategy.parallel.name) == (model, tuning, parallel)
    assert (cfg.optimizer.lr, cfg.batch.global_size, cfg.batch.micro_size) == (float(rate), int(global_size), int(micro_size))
    assert int(length) == (cfg.trainer.max_steps or cfg.trainer.max_epochs) and cfg.model.max_length == int(tokens)
    given = cfg.scheduler.warmup_steps if cfg.scheduler.warmup_ratio is None else cfg.scheduler.warmup_ratio
    assert given == float(warmup)
    if name in LORA:
        assert (cfg.strategy.tuning.r, cfg.strategy.tuning.alpha, cfg.strategy.tuning.dropout) == LORA[name]


@pytest.mark.parametrize("name", [*TABLE, *NO_TRAINING])
def test_a_header_names_itself_its_source_and_a_machine(name):
    text = (conf_folder() / "experiment" / f"{name}.yaml").read_text(encoding="utf-8")

    assert header_words(name)[0] == f"experiment={name}"
    if name in TABLE:
        assert any(word.startswith("hw=") for word in header_words(name))
        assert re.search(r"^# Sources?: \S+/\S+|# Source: \w+ in \S+/\S+", text, re.MULTILINE) or "as experiment=" in text.splitlines()[1]


def test_what_a_family_shares_is_written_once():
    """The Guanaco of another size is the same but for what its script says, and so on."""
    for name, base, own in (
        ("jindo_guanaco_65b", "jindo_guanaco_7b", {"model", "strategy", "optimizer"}),
        ("lm_research_hub_flan_t5_xxl", "lm_research_hub_llama7b", {"model", "batch"}),
        ("sunzeyeah_glm_reward", "sunzeyeah_pangu_reward", {"model"}),
        ("wangchanglm_single_world", "wangchanglm_multi_world", {"strategy", "batch"}),
    ):
        one, other = (OmegaConf.to_container(recipe(n), resolve=False) for n in (name, base))
        changed = {key for key in one if one[key] != other[key]} - {"output_dir", "hw", "data"}
        assert changed == own, name


# --- will it fit ----------------------------------------------------------------------------------------------------------


def peak_gib(name: str) -> tuple[float, Any]:
    """The planned peak on the machine of the header, rows as long as they may be: the data is not there, nor is a reward model."""
    words = [word for word in header_words(name) if not word.startswith(("reward.path", "model.adapter"))]
    cfg = compose([re.sub(r"path=\S+", "path=nobody/nothing", word) if word.startswith("data.") else word for word in words] +
                  (["model.adapter=null"] if name == "wangchanglm_klongklon" else []))  # fmt: skip
    parts = build.parts(cfg)
    tokens = tokens_of(cfg, parts, cfg.plan.task)
    request = plan_request(cfg, parts, tokens.rows(cfg.batch.micro_size, parts.world_size), cfg.plan.task)
    return Estimator(tokens)(request).peak_memory_gib, cfg


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TABLE if TABLE[name][9] != "-"])
def test_a_recipe_fits_the_machine_it_was_published_for(name):
    expected, device = map(float, TABLE[name][9].split("/"))

    peak, cfg = peak_gib(name)

    assert cfg.hw.memory_gib == device and cfg.plan.task == cfg.task.name
    assert peak == pytest.approx(expected, rel=0.15, abs=1)
    # 33B on 24 GB is at the very edge: weights of 17 GiB, what is spared for the driver; a paged optimizer gives way
    assert peak < 0.95 * device or name == "jindo_guanaco_33b"


def test_a_model_spread_over_gpus_is_not_planned():
    with pytest.raises(ConfigError, match=r"device_map=auto is not planned"):
        peak_gib("wangchanglm_single_world")
