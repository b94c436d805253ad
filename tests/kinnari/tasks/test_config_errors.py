"""What a person reads after a mistake in the configuration."""

from __future__ import annotations

import contextlib

import pytest
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, MissingMandatoryValue, OmegaConfBaseException

from kinnari.errors import ConfigError
from kinnari.tasks.compose import compose
from kinnari.tasks.config_errors import WIDTH, explain, groups, is_users_mistake, spot_mistakes


def told(*overrides: str) -> str:
    """The paragraph for a command line, on one line."""
    with pytest.raises(ConfigError) as caught:
        compose(overrides)
    assert caught.value.__suppress_context__ or caught.value.__cause__ is None
    text = str(caught.value)
    assert "\n\n" not in text and "Traceback" not in text
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model=xglm7", "model=xglm7 is unknown. Did you mean model=xglm7b"),
        ("hw=v100", "hw=v100 is unknown."),
        (
            "strategy/parallel=zero2",
            "The options of strategy/parallel: auto, ddp, deepspeed_zero1, deepspeed_zero2, deepspeed_zero3, fsdp, single.",
        ),
        ("strategy/paralel=ddp", "There is no group 'strategy/paralel'. Did you mean strategy/parallel?"),
        ("optimizer.lrr=1", "There is no setting 'optimizer.lrr'. Did you mean optimizer.lr"),
        ("lr=1e-3", "Did you mean optimizer.lr?"),
        ("trainer.maxsteps=3", "Did you mean trainer.max_steps"),
        ("modle=xglm7b", "There is no setting 'modle'. Did you mean model?"),
        ("optimizer/lr=1", "written with dots: optimizer.lr=VALUE"),
        ("task.prompts=[hello]", "It belongs to task=compare and task=generate."),
        ("data.alpaca.path=FILE", "It belongs to data=alpaca."),
        ("~optimizer.lrx", "Did you mean optimizer.lr"),
        ("~hw=t4", "hw=t4 is not what was chosen, so it cannot be removed."),
        ("+optimizer.lr=3", "optimizer.lr exists already, so it is set without the plus sign: optimizer.lr=VALUE."),
        ("+model=xglm7b", "model exists already, so it is set without the plus sign: model=VALUE."),
        ("model=", "model= names no file. Its options: "),
        ("model", "'model' is no setting: it has no value. Write model=VALUE"),
        ("data=[alpaca,", "has a bracket without its partner ']'. Put the whole setting in single quotes"),
        ("task.name='a", "has a quotation mark without its partner."),
        ("model = xglm7b", "there may be no space around `=`"),
        ("output_dir=a(b", "'output_dir=\"a(b\"'"),
        ("hw=[cpu,cpux2]", "hw takes one option, and the last of several would win unseen. Write hw=cpux2"),
    ],
)
def test_a_mistake_is_told_with_what_to_write_instead(override, message):
    assert message in told(override)


def test_a_group_that_the_task_chooses_may_not_be_null():
    assert "A group of files is set to null, and the task or experiment needs" in told("task=bootstrap", "bootstrap=null")


@pytest.mark.parametrize("path", ["strategy/parallel", "strategy/tuning", "model/template"])
def test_a_dot_for_a_slash_is_refused_for_every_group_within_a_group(path):
    dotted, option = path.replace("/", "."), groups()[path][0]
    for prefix in ("", "+", "++"):
        assert f"Write {path}={option}" in told(f"{prefix}{dotted}={option}")


def test_a_mapping_may_stand_where_a_group_is():
    spot_mistakes(["strategy.tuning={name: lora}", "+model.template={name: mine}"])


def test_an_option_given_as_name_is_refused_and_a_label_is_not():
    assert "Write optimizer=lion to choose it" in told("optimizer.name=lion")
    spot_mistakes(["model.name=my_model"])


@pytest.mark.parametrize("argv", [["--cfg", "job", "-m"], ["-r", "--multirun"], ["--info", "--cfg=job"]])
def test_commands_that_exclude_each_other_are_named(argv):
    with pytest.raises(ConfigError, match="exclude each other"):
        spot_mistakes(argv)


@pytest.mark.parametrize("argv", [[], ["--cfg", "job", "--resolve"], ["--help"], ["-m", "model=a,b"], ["strategy=lora", "~logger"]])
def test_a_good_command_line_passes(argv):
    spot_mistakes(argv)


@given(st.lists(st.text(max_size=30), max_size=4))
def test_no_command_line_makes_the_first_look_fail(argv):
    with contextlib.suppress(ConfigError):
        spot_mistakes(argv)


@settings(deadline=None, max_examples=30)
@given(st.from_regex(r"[+~]{0,2}[a-z_./]{1,12}[=]?[a-z0-9\[\](){}'\"$,: ]{0,12}", fullmatch=True))
def test_every_override_composes_or_is_explained(override):
    with contextlib.suppress(ConfigError):
        compose([override])


def test_a_paragraph_is_at_most_a_hundred_columns_wide():
    text = explain(ConfigError("word " * 100))
    assert max(len(line) for line in text.splitlines()) <= WIDTH
    assert not text.endswith(" ")


def test_a_missing_value_names_its_override():
    cfg = OmegaConf.create({"data": {"alpaca": {"path": "???"}}})
    with pytest.raises(MissingMandatoryValue) as caught:
        _ = cfg.data.alpaca.path
    assert is_users_mistake(caught.value)
    assert explain(caught.value).endswith("Add data.alpaca.path=VALUE")


def test_a_launcher_without_its_package_names_the_extra():
    problem = RuntimeError("Unknown plugin class : 'hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher'")
    assert is_users_mistake(problem)
    assert " ".join(explain(problem).split()).endswith("(SlurmLauncher). Install the extra that brings it: pip install 'kinnari[slurm]'.")
    assert not is_users_mistake(RuntimeError("Unknown plugin class : 'theirs.Launcher'"))


def test_of_many_options_those_that_begin_alike_are_named_and_the_rest_are_not():
    text = told("model=smollm2")
    assert "Did you mean model=smollm2_135m or model=" in text and "task=list task.group=model" in text and "xglm7b" not in text


def test_a_reference_to_nothing_names_both_ends():
    cfg = OmegaConf.create({"trainer": {"precision": "${hw.precison}"}})
    with pytest.raises(OmegaConfBaseException) as caught:
        _ = cfg.trainer.precision
    text = explain(caught.value)
    assert "trainer.precision refers to something that cannot be found" in text and "hw.precison" in text


def test_a_key_removed_by_the_user_is_named():
    cfg = OmegaConf.create({"optimizer": {"lr": 1}})
    OmegaConf.set_struct(cfg, True)
    with pytest.raises(ConfigAttributeError) as caught:
        _ = cfg.optimizer.weight_decay
    assert is_users_mistake(caught.value)
    assert "optimizer.weight_decay" in explain(caught.value)


def _instantiation_error(node: dict) -> InstantiationException:
    with pytest.raises(InstantiationException) as caught:
        instantiate(OmegaConf.create(node))
    return caught.value


def refuses(size: int) -> None:
    """A target that refuses its settings."""
    raise ConfigError(f"size={size} is too small; use 2.")


def breaks() -> None:
    """A target with a defect."""
    raise KeyError("oops")


def test_what_a_constructor_refuses_is_the_users_mistake():
    error = _instantiation_error({"_target_": f"{__name__}.refuses", "size": 1})
    assert is_users_mistake(error)
    assert explain(error) == "size=1 is too small; use 2."


def test_a_setting_that_a_constructor_does_not_take_is_named():
    error = _instantiation_error({"_target_": f"{__name__}.refuses", "size": 1, "colour": 2})
    assert is_users_mistake(error)
    assert "refuses" in explain(error) and "unexpected keyword argument 'colour'" in explain(error)


def test_a_target_that_cannot_be_imported_is_named_with_its_extra():
    error = _instantiation_error({"_target_": "kinnari.errors.NoSuchError"})
    assert is_users_mistake(error)
    assert "Check the spelling of `_target_`" in explain(error)
    error = _instantiation_error({"_target_": "wandb_not_there.Logger"})
    assert "pip install 'kinnari[wandb]'" in explain(error)


@pytest.mark.parametrize("problem", [KeyError("oops"), ValueError("shape"), RuntimeError("cuda")])
def test_a_defect_is_not_the_users_mistake(problem):
    assert not is_users_mistake(problem)


def test_a_defect_in_a_constructor_keeps_its_traceback():
    assert not is_users_mistake(_instantiation_error({"_target_": f"{__name__}.breaks"}))
