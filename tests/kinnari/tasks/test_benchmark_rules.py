"""What cannot be asked is refused before anything is loaded."""

from __future__ import annotations

import pytest

from kinnari.errors import ConfigError
from kinnari.tasks.compose import compose
from kinnari.tasks.rules import check

ASKED = ["task=evaluate", "benchmark=tnews", "benchmark.data_dir=DIR", "model=tiny_causal"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("benchmark.limit=0", "benchmark.limit=0 must be a whole number at least 1, or null"),
        ("benchmark.limit=0.1", "benchmark.limit=0.1"),
        ("benchmark.tnews.limit=-3", "benchmark.tnews.limit=-3"),
        ("benchmark.shots=-1", "benchmark.shots=-1"),
        ("benchmark.shot_tokens=0", "benchmark.shot_tokens=0"),
        ("benchmark.token_budget=0", "benchmark.token_budget=0"),
        ("benchmark.max_length=1", "benchmark.max_length=1"),
        ("benchmark.calibration=later", "benchmark.calibration=later is unknown; choose one of none, prior"),
        ("benchmark.scoring=best", "benchmark.scoring=best is unknown; choose one of null, label"),
        ("benchmark.tnews.prompt=mine", "benchmark.tnews.prompt=mine"),
        ("benchmark.candidates=some", "benchmark.candidates=some"),
        ("benchmark.chat=maybe", "benchmark.chat=maybe must be true or false"),
        ("benchmark.cache=5", "benchmark.cache=5"),
        ("benchmark.data_dir=[a,b]", "benchmark.data_dir"),
        ("benchmark.seed=null", "benchmark.seed=null"),
    ],
)
def test_a_setting_that_cannot_be_is_told_with_its_rule(override, message):
    with pytest.raises(ConfigError, match=message):
        check(compose([*ASKED, override]))


def test_a_benchmark_must_be_named_where_one_is_asked():
    with pytest.raises(ConfigError, match="task=evaluate without a benchmark"):
        check(compose(["task=evaluate"]))
    with pytest.raises(ConfigError, match="callbacks=benchmarks without a benchmark"):
        check(compose(["callbacks=[default,benchmarks]"]))
    check(compose(["callbacks=[default,benchmarks]", *ASKED[1:]]))


def test_settings_of_benchmarks_that_nobody_asks_are_let_be():
    check(compose(["task=sft", "benchmark.limit=0"]))


@pytest.mark.parametrize("name", ["fsdp", "deepspeed_zero3"])
def test_every_device_holds_the_whole_model(name):
    with pytest.raises(ConfigError, match=f"strategy/parallel={name} with task=evaluate"):
        check(compose([*ASKED, f"strategy/parallel={name}", "hw=cpux2"]))
    check(compose([*ASKED, "hw=cpux2"]))


def test_devices_that_nobody_would_use_are_told():
    with pytest.raises(ConfigError, match="strategy/parallel=single"):
        check(compose([*ASKED, "strategy/parallel=single", "hw=cpux2"]))


def test_an_encoder_cannot_be_asked():
    with pytest.raises(ConfigError, match="an encoder reads a text and writes none"):
        check(compose([*ASKED[:3], "model=tiny_encoder"]))


def test_an_evaluation_does_not_write_over_the_run_it_scores(tmp_path):
    (tmp_path / "config.yaml").write_text("model: {}")
    with pytest.raises(ConfigError, match="would write over its config"):
        check(compose([*ASKED[:3], f"checkpoint={tmp_path}", f"output_dir={tmp_path}"]))
    with pytest.raises(ConfigError, match="does not exist"):
        check(compose([*ASKED[:3], "checkpoint=/nowhere"]))
    check(compose([*ASKED[:3], f"checkpoint={tmp_path}", f"output_dir={tmp_path / 'scores'}"]))
