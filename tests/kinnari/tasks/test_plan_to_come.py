"""A plan is asked before data, adapter and reward model are there."""

from __future__ import annotations

import json

import pytest
from omegaconf import OmegaConf

from kinnari.errors import ConfigError
from kinnari.tasks.compose import compose
from kinnari.tasks.plan_request import planned_config
from kinnari.tasks.plan_to_come import TO_COME, without_what_is_to_come
from kinnari.tasks.run import run

TINY = ["task=plan", "model=tiny_causal", "trainer.precision=32-true", "strategy=lora"]


def config(*words: str):
    return OmegaConf.create(OmegaConf.to_container(planned_config(compose([*TINY, *words])), resolve=True))


def test_a_config_of_what_is_there_stays_as_it_is(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}", encoding="utf-8")
    cfg = config(f"model.adapter={tmp_path}")
    assert without_what_is_to_come(cfg) == (cfg, [])


def test_each_thing_that_is_missing_is_told_in_a_sentence():
    cfg = config("data=sharegpt_parallel", "model.adapter=no/such", "plan.task=ppo", "ppo.reward=model", "reward.path=no/reward")
    changed, told = without_what_is_to_come(cfg)
    assert changed.data.sharegpt_parallel.path == changed.data.sharegpt_parallel.target_path == TO_COME
    assert changed.model.adapter is None and changed.reward.path is None
    assert told[0] == "data.sharegpt_parallel.path, data.sharegpt_parallel.target_path are not given yet"
    assert told[1].startswith("model.adapter=no/such is not there") and told[2].startswith("reward.path=no/reward is not there")
    assert cfg.model.adapter == "no/such"  # the run's own config is left alone


@pytest.mark.parametrize("words", [["data=alpaca"], ["data=alpaca", "data.alpaca.path=no_such_file.json"]])
def test_rows_are_as_long_as_allowed_where_the_data_is_not_there(tmp_path, words):
    run(compose([*TINY, *words, "model.adapter=no/such", f"output_dir={tmp_path}"]))
    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert result["fits"] and result["hours_per_epoch"] is None
    assert "files of the data are not there yet: every row is taken to have" in result["tokens"]
    assert "model.adapter=no/such is not there yet" in result["tokens"]


def test_a_measurement_needs_the_data(tmp_path):
    with pytest.raises(ConfigError, match=r"data\.alpaca\.path must be given"):
        run(compose([*TINY, "data=alpaca", "plan.measure=true", f"output_dir={tmp_path}"]))
