"""Every option of every group composes, every pair of strategies meets the machine it is meant for, and the headers tell the truth."""

from __future__ import annotations

import copy
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from kinnari.errors import ConfigError
from kinnari.tasks.compose import compose, conf_folder
from kinnari.tasks.config_errors import groups
from kinnari.tasks.rules import check


def _open_values(content: object, name: str) -> list[str]:
    """Overrides for the values a file leaves to the user."""
    if isinstance(content, dict):
        return [override for key, value in content.items() for override in _open_values(value, f"{name}.{key}")]
    return [f"{name}=FILE"] if content == "???" else []


def _command(file: str) -> str | None:
    lines = (conf_folder() / file).read_text(encoding="utf-8").splitlines()
    comment = [line for line in lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))] if "@package" not in line]
    found = re.search(r"python launch\.py([^`\n]*)", "\n".join(comment))
    says_something = comment and len(re.sub(r"python launch\.py.*", "", comment[0]).strip("# ")) > 10
    return found.group(1) if found and says_something else None


# What an option cannot be composed without.
NEEDS = {f"data={f.stem}": _open_values(yaml.safe_load(f.read_text("utf-8")), "data") for f in (conf_folder() / "data").glob("*.yaml")}
NEEDS["task=recover"] = ["task.delta=DELTA"]
NEEDS["task=export"] = ["checkpoint=."]
# An experiment is composed as its header says.
NEEDS |= {f"experiment={name}": shlex.split(_command(f"experiment/{name}.yaml") or "")[1:] for name in groups()["experiment"]}
NEEDS |= {f"bootstrap/filters={name}": ["bootstrap=alpaca"] for name in groups()["bootstrap/filters"]}
NEEDS |= {f"model={name}": ["task=reward", "data=chatterbot_ranked"] for name in ("tiny_encoder", "xlm_roberta_base", "xlm_roberta_large")}
OPTIONS = [f"{group}={option}" for group, options in groups().items() if not group.startswith("hydra/") for option in options]
FILES = sorted(file.relative_to(conf_folder()).as_posix() for file in conf_folder().rglob("*.yaml"))


@pytest.mark.parametrize("choice", OPTIONS)
def test_every_option_composes_and_resolves(choice):
    if choice == "hparams_search=optuna_lr":
        pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    cfg = compose([choice, *NEEDS.get(choice, [])])
    OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)


@pytest.mark.parametrize("choice", [o for o in OPTIONS if o.split("=")[0] in ("model", "strategy", "optimizer", "hw", "experiment")])
def test_shipped_choices_break_no_rule_on_a_machine_that_suits_them(choice, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for adapter in ("FOLDER", "RUN/adapter"):  # that headers go on with
        (tmp_path / adapter).mkdir(parents=True)
        (tmp_path / adapter / "adapter_config.json").write_text("{}")
    machine = ["hw=a100x4"] if choice in ("strategy=fsdp", "strategy=deepspeed") else []
    check(compose([choice, *machine, "batch.micro_size=1", *NEEDS.get(choice, [])]))


@pytest.mark.parametrize("file", FILES)
def test_every_file_says_what_it_is_and_how_to_use_it(file):
    command = _command(file)
    assert command is not None, f"conf/{file} needs a header comment with a sentence and one command"


@pytest.mark.parametrize("file", [file for file in FILES if not file.startswith("hydra/")])
def test_the_command_of_a_header_composes(file):
    command = _command(file)
    assert command is not None
    overrides = [argument for argument in shlex.split(command) if not argument.startswith("-")]
    if "-m" not in command:
        compose(overrides)


@pytest.mark.parametrize("file", FILES)
def test_a_file_of_a_group_bears_its_own_name(file):
    content = yaml.safe_load((conf_folder() / file).read_text(encoding="utf-8")) or {}
    if file.split("/")[0] in ("model", "strategy", "hw", "optimizer", "scheduler", "task") and "name" in content:
        assert content["name"] == file.removesuffix(".yaml").rpartition("/")[2]


@pytest.mark.slow
def test_every_target_can_be_imported():
    targets = {t for f in conf_folder().rglob("*.yaml") for t in re.findall(r"_target_: ([\w.]+)", f.read_text(encoding="utf-8"))}
    targets -= {"hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher"}  # an extra
    for target in sorted(targets):
        assert callable(get_object(target)), target


# --- strategies x machines ------------------------------------------------------------------------------------------------

TUNINGS = ("full", "lora", "qlora", "lora_int8")
PARALLELS = ("auto", "single", "ddp", "fsdp", "deepspeed_zero1", "deepspeed_zero2", "deepspeed_zero3")
# + runs, - refused; columns as PARALLELS.
SEVERAL_DEVICES = """
    full       + - + + + + +
    lora       + - + + + + +
    qlora      + - + + + + +
    lora_int8  + - + - + + -
"""
ONE_GPU = """
    full       + + - - + + +
    lora       + + - - + + +
    qlora      + + - - + + +
    lora_int8  + + - - + + -
"""
ONE_CPU = """
    full       + + - - - - -
    lora       + + - - - - -
    qlora      + + - - - - -
    lora_int8  + + - - - - -
"""


@pytest.fixture(scope="module")
def parts():
    """The composed sections, so that 240 combinations need no 240 compositions."""
    return {
        "base": compose(["batch.micro_size=2"]),
        "hw": {name: compose([f"hw={name}"]).hw for name in groups()["hw"]},
        "tuning": {name: compose([f"strategy/tuning={name}"]).strategy.tuning for name in TUNINGS},
        "parallel": {name: compose([f"strategy/parallel={name}"]).strategy.parallel for name in PARALLELS},
    }


def _combined(parts, tuning: str, parallel: str, hw: str) -> DictConfig:
    cfg = copy.deepcopy(parts["base"])
    cfg.hw = parts["hw"][hw]
    cfg.strategy = {"tuning": parts["tuning"][tuning], "parallel": parts["parallel"][parallel]}
    return cfg


@pytest.mark.parametrize("hw", groups()["hw"])
@pytest.mark.parametrize("tuning", TUNINGS)
@pytest.mark.parametrize("parallel", PARALLELS)
def test_every_pair_of_strategies_runs_or_is_refused(parts, tuning, parallel, hw):
    cfg = _combined(parts, tuning, parallel, hw)
    table = SEVERAL_DEVICES if cfg.hw.devices > 1 else ONE_CPU if cfg.hw.accelerator == "cpu" else ONE_GPU
    rows = {row.split()[0]: row.split()[1:] for row in table.strip().splitlines()}
    if rows[tuning][PARALLELS.index(parallel)] == "+":
        check(cfg)
    else:
        with pytest.raises(ConfigError, match=r"Use "):
            check(cfg)


def test_combining_sections_is_composing(parts):
    composed = compose(["batch.micro_size=2", "strategy/tuning=qlora", "strategy/parallel=fsdp", "hw=a100x4", "output_dir=x"])
    combined = _combined(parts, "qlora", "fsdp", "a100x4")
    combined.output_dir = composed.output_dir
    assert OmegaConf.to_container(combined, resolve=True) == OmegaConf.to_container(composed, resolve=True)


def test_a_named_strategy_is_a_pair_and_its_halves_can_be_exchanged():
    cfg = compose(["strategy=lora", "strategy/parallel=fsdp", "hw=cpux2"])
    assert (cfg.strategy.tuning.name, cfg.strategy.parallel.name) == ("lora", "fsdp")


def test_values_have_one_home():
    cfg = compose(["hw=v100x4", "hw.precision=32-true"])
    assert cfg.trainer.precision == "32-true"
    assert compose(["hw=v100x4", "trainer.precision=32-true"]).hw.precision == "16-mixed"


def test_several_sources_stand_side_by_side():
    cfg = compose(["data=[alpaca,chatterbot]", "data.alpaca.path=FILE", "data.alpaca.weight=2"])
    assert sorted(cfg.data) == ["alpaca", "chatterbot"]
    assert cfg.data.alpaca.weight == 2


# --- the notebook's compose -----------------------------------------------------------------------------------------------


def test_compose_gives_a_real_output_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = compose(["task=inspect"])
    assert cfg.output_dir.startswith(str(tmp_path / "outputs" / "inspect"))
    assert cfg.output_dir == cfg.output_dir and "${" not in cfg.output_dir
    assert compose(["output_dir=here"]).output_dir == str(tmp_path / "here")


def test_compose_explains_mistakes():
    with pytest.raises(ConfigError, match=r"model=xglm7 is unknown\. Did you mean model=xglm7b"):
        compose(["model=xglm7"])


def test_compose_inside_another_hydra_application_leaves_it_alone():
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        compose(["hw=cpux2"])
        assert hydra_compose("config", overrides=["hw=t4"]).hw.name == "t4"


def test_the_folder_is_found_inside_an_installed_package(tmp_path):
    source = conf_folder().parent
    package = tmp_path / "site" / "kinnari"
    (package / "tasks").mkdir(parents=True)
    for file in ("__init__.py", "errors.py", "tasks/__init__.py", "tasks/compose.py", "tasks/config_errors.py"):
        shutil.copy(source / "kinnari" / file, package / file)
    shutil.copytree(conf_folder(), package / "conf")
    (package.parent / "conf").mkdir()  # another project's
    (package.parent / "conf" / "config.yaml").write_text("foreign: true\n")
    program = "from kinnari.tasks.compose import compose, conf_folder; print(conf_folder()); print(compose(['hw=t4']).hw.name)"
    env = os.environ | {"PYTHONPATH": str(package.parent)}
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(package / "conf"), "t4"]


# --- SLURM ----------------------------------------------------------------------------------------------------------------


def _slurm(*overrides: str) -> DictConfig:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    with initialize_config_dir(str(conf_folder()), version_base="1.3", job_name="launch"):
        cfg = hydra_compose("config", overrides=["hydra/launcher=submitit_slurm", *overrides], return_hydra_config=True)
    return cfg.hydra.launcher


def test_a_slurm_job_has_one_task_per_node_and_all_its_gpus():
    launcher = _slurm("hw=a100x8", "hw.num_nodes=2")
    assert (launcher.nodes, launcher.tasks_per_node, launcher.gpus_per_node, launcher.cpus_per_gpu) == (2, 1, 8, 8)
    assert launcher._target_.endswith("SlurmLauncher")


def test_a_slurm_job_on_processors_asks_for_no_gpu():
    launcher = _slurm("hw=cpux2")
    assert (launcher.nodes, launcher.gpus_per_node, launcher.cpus_per_gpu) == (1, None, None)
