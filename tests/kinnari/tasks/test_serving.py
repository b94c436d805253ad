"""Which models are served, and under which names."""

from __future__ import annotations

import logging

import pytest

from kinnari.errors import ConfigError
from kinnari.tasks import build
from kinnari.tasks.compose import compose
from kinnari.tasks.serving import check_timeout, engine, guard_of, guarded, other_config, served_name


def config(*overrides: str):
    return compose(["task=serve", "model=tiny_causal", "strategy=lora", "trainer.precision=32-true", *overrides])


def test_an_adapter_is_named_after_its_run() -> None:
    assert served_name(config()) == "tiny_causal"
    assert served_name(config("model.adapter=runs/sft_3/adapter")) == "tiny_causal+sft_3"
    assert served_name(config("model.adapter=runs/sft_3/step_100")) == "tiny_causal+step_100"


def test_no_second_model_is_served_unless_asked_for() -> None:
    assert other_config(config()) is None


def test_the_second_model_may_be_of_another_family_with_its_template() -> None:
    other = other_config(config("serve.other.model=tiny_seq2seq"))
    assert (other.model.name, other.model.architecture) == ("tiny_seq2seq", "seq2seq")


def test_the_second_model_may_be_other_weights_and_is_named_after_them() -> None:
    other = other_config(config("serve.other.path=runs/dpo_1/merged"))
    assert (other.model.path, served_name(other)) == ("runs/dpo_1/merged", "dpo_1")


def test_the_second_model_has_no_adapter_but_its_own(tmp_path) -> None:
    folder = tmp_path / "run" / "adapter"
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text("{}")
    base = other_config(config(f"model.adapter={folder}", "serve.other.name=base"))
    assert base.model.adapter is None
    tuned = other_config(config(f"serve.other.adapter={folder}"))
    assert served_name(tuned) == "tiny_causal+run"


@pytest.mark.parametrize("overrides", [["serve.other.name=again"], ["serve.other.model=tiny_causal"]])
def test_the_same_model_twice_is_refused(overrides: list[str]) -> None:
    with pytest.raises(ConfigError, match="once more"):
        other_config(config(*overrides))


def test_rules_hold_for_the_second_model_too() -> None:
    with pytest.raises(ConfigError, match="encoder"):
        other_config(config("serve.other.model=tiny_encoder"))


def test_an_engine_serves_the_configured_model() -> None:
    made = engine(config(), max_running=2)
    try:
        assert (made.name, made.batched, made.max_running) == ("tiny_causal", True, 2)
    finally:
        made.close()


def test_a_guard_stands_before_every_model_and_no_guard_before_none(monkeypatch: pytest.MonkeyPatch) -> None:
    from kinnari.serving import guard
    from kinnari.serving.guarded import GuardedModel
    from tests.kinnari.serving.recorded import Recorded

    models = [Recorded("a"), Recorded("b")]
    assert guarded(guard_of(config()), models) == models
    monkeypatch.setattr(guard, "load_guard", lambda **settings: settings)
    made = guarded(guard_of(config("guard=topics", "guard.model=somewhere")), models)
    assert [(type(model), model.name) for model in made] == [(GuardedModel, "a"), (GuardedModel, "b")]


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 1e12, True, "long", None])
def test_a_time_that_nobody_can_wait_is_refused(seconds: object) -> None:
    with pytest.raises(ConfigError, match="at most 604800"):
        check_timeout("serve.timeout_s", seconds)


def test_starting_says_what_is_loaded_and_nothing_of_training(tmp_path, caplog: pytest.LogCaptureFixture) -> None:
    model, _ = build.load_for_training(config("strategy.tuning.r=2"))
    model.save_pretrained(tmp_path / "run" / "adapter")
    caplog.clear()
    with caplog.at_level(logging.INFO, "kinnari"):
        engine(config(f"model.adapter={tmp_path}/run/adapter"), max_running=1).close()
    said = [record.getMessage() for record in caplog.records]
    assert [line.split()[0] for line in said] == ["loading", "Loaded"] and said[0] == "loading tiny_causal+run", said
