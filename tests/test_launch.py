"""The command line as a person uses it: exit status, one paragraph, and nothing heavy where nothing heavy is needed."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "numpy", "transformers", "pytorch_lightning", "peft", "datasets", "deepspeed", "bitsandbytes", "pandas", "rich")


def command(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"} | environment
    line = [sys.executable, str(ROOT / "launch.py"), *arguments]
    return subprocess.run(line, cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model=xglm7"], "model=xglm7 is unknown. Did you mean model=xglm7b"),
        (["optimizer.lrr=1"], "There is no setting 'optimizer.lrr'. Did you mean optimizer.lr"),
        (["strategy.parallel=fsdp"], "Write strategy/parallel=fsdp"),
        (["model"], "Write model=VALUE"),
        (["data=[alpaca,"], "single quotes"),
        (["strategy=lora,qlora"], "python launch.py -m 'strategy=lora,qlora'"),
        (["--cfg", "job", "--multirun"], "exclude each other"),
        (["--resolve"], "`--cfg job --resolve`"),
        (["--config-name", "other"], "Leave out --config-name"),
        (["data=alpaca"], "data.alpaca.path must be given"),
        (["trainer.precision=${hw.precison}"], "hw.precison"),
        (["hw=v100x4", "trainer.precision=bf16-mixed"], "Use trainer.precision=16-mixed"),
        (["hw=cpux2", "strategy=lora", "strategy/tuning=lora_int8", "strategy/parallel=fsdp"], "8-bit weights"),
        (["batch.global_size=9"], "batch.micro_size in [1, 3, 9]"),
        (["~batch.micro_size"], "batch.micro_size is not set"),
        (["hydra.job.num=abc"], "could not be converted to Integer"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_ends_with_status_2_and_one_paragraph(tmp_path, arguments, message):
    done = command(tmp_path, *arguments)
    assert done.returncode == 2, done.stderr
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr and "\n\n" not in done.stderr.strip()
    assert done.stdout == ""
    assert not list(tmp_path.rglob("launch.log")) and not list(tmp_path.rglob(".hydra"))


def test_a_refused_run_keeps_what_was_in_its_folder(tmp_path):
    (tmp_path / "mine.txt").write_text("kept")
    assert command(tmp_path, "batch.global_size=9", f"output_dir={tmp_path}").returncode == 2
    assert (tmp_path / "mine.txt").read_text() == "kept"


def test_an_unknown_flag_ends_with_status_2(tmp_path):
    done = command(tmp_path, "--modle", "xglm7b")
    assert done.returncode == 2
    assert "unrecognized arguments: --modle" in done.stderr


def test_a_mistake_in_a_sweep_is_told_at_once_and_names_the_trial(tmp_path):
    done = command(tmp_path, "-m", "trainer.precision=bf16,fp16", "model=tiny_causal")
    assert done.returncode == 2
    assert "trainer.precision=bf16 is unknown" in done.stdout and "trainer.precision=fp16 is unknown" in done.stdout
    assert "'trainer.precision=bf16'" in done.stderr and "Traceback" not in done.stderr


def test_a_group_that_a_sweep_does_not_know_is_named(tmp_path):
    done = command(tmp_path, "-m", "strategy=lora,lola")
    assert done.returncode == 2
    assert "strategy=lola is unknown. Did you mean strategy=lora?" in done.stderr


def test_a_traceback_is_shown_on_request(tmp_path):
    done = command(tmp_path, "model=xglm7", HYDRA_FULL_ERROR="1")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_help_is_written_for_people(tmp_path):
    done = command(tmp_path, "--help")
    assert done.returncode == 0
    for expected in ("python launch.py model=xglm7b strategy=lora hw=v100x4", "strategy/parallel: auto, ddp", "--cfg job", "Exit status"):
        assert expected in done.stdout
    assert "Powered by Hydra" not in done.stdout and "???" not in done.stdout
    assert len(done.stdout.splitlines()) < 70


@pytest.mark.parametrize("arguments", [["--cfg", "job"], ["--cfg", "job", "--resolve"], ["--cfg", "hydra"], ["--info", "defaults"]])
def test_hydras_own_commands_still_work(tmp_path, arguments):
    done = command(tmp_path, *arguments, "hw=t4")
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert not list(tmp_path.iterdir()), "looking leaves nothing behind"


def test_hydras_own_help_still_works(tmp_path):
    done = command(tmp_path, "--hydra-help")
    assert done.returncode == 0 and "--shell-completion" in done.stdout


def test_shell_completion_offers_the_options_of_a_group(tmp_path):
    assert "_kinnari_complete" in command(tmp_path, "-sc", "install=bash").stdout
    assert "hydra_fish_completion" in command(tmp_path, "-sc", "install=fish").stdout
    asked = command(tmp_path, "-sc", "query=bash", COMP_LINE="python launch.py strategy/parallel=dd")
    assert asked.stdout.split() == ["strategy/parallel=ddp"]


def test_the_slurm_launcher_composes_without_a_warning(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    arguments = ["--cfg", "all", "--resolve", "-p", "hydra.launcher", "hydra/launcher=submitit_slurm", "hw=a100x8", "hw.num_nodes=2"]
    done = command(tmp_path, *arguments)
    assert done.returncode == 0 and done.stderr == ""
    assert {"nodes: 2", "tasks_per_node: 1", "gpus_per_node: 8"} <= set(done.stdout.splitlines())


def test_the_batch_script_handed_to_slurm_says_what_the_profile_says(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    # A cluster that keeps the script and refuses the job: the launcher would wait for its end.
    for name, body in {"srun": "exit 0", "sbatch": f'cp "$1" {tmp_path}/script; exit 1'}.items():
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)
    arguments = ["-m", "hydra/launcher=submitit_slurm", "hydra.launcher.partition=gpu", "hw=v100x4", "hw.num_nodes=3", "seed=1,2"]
    done = command(tmp_path, *arguments, PATH=f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    assert done.returncode != 0
    script = (tmp_path / "script").read_text().splitlines()
    for line in ("nodes=3", "ntasks-per-node=1", "gpus-per-node=4", "cpus-per-gpu=8", "time=1440", "partition=gpu", "array=0-1%2"):
        assert f"#SBATCH --{line}" in script, script
    assert any(line.startswith("srun ") and "submitit" in line for line in script)


def test_nothing_heavy_is_imported_to_show_a_configuration(tmp_path):
    program = (
        "import json, runpy, sys\n"
        f"sys.argv = [{str(ROOT / 'launch.py')!r}, '--cfg', 'job']\n"
        f"runpy.run_path(sys.argv[0], run_name='__main__')\n"
        f"print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]), file=sys.stderr)\n"
    )
    env = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"} | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    assert json.loads(done.stderr) == []


def test_a_refusal_needs_no_torch(tmp_path):
    done = command(tmp_path, "hw=t4", "trainer.precision=bf16-mixed", PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 2
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "kinnari.tasks.rules" in imported
    assert not imported & {"torch", "transformers", "pytorch_lightning"}


@pytest.mark.parametrize("arguments", [["--version"], ["task=list"], ["-sc", "query=bash"]], ids=" ".join)
def test_looking_imports_nothing_heavy_and_leaves_nothing(tmp_path, arguments):
    done = command(tmp_path, *arguments, PYTHONPROFILEIMPORTTIME="1", COMP_LINE="python launch.py optimizer.")
    assert done.returncode == 0 and done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert not imported & set(HEAVY)
    assert not list(tmp_path.iterdir())


def test_the_version_says_what_computes(tmp_path):
    told = dict(line.split(" ", 1) for line in command(tmp_path, "--version").stdout.splitlines())
    assert {"kinnari", "python", "torch", "transformers", "pytorch-lightning"} <= set(told)


@pytest.mark.slow
def test_showing_a_configuration_takes_at_most_twice_an_empty_hydra_application(tmp_path):
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "config.yaml").write_text("a: 1\n")
    empty = tmp_path / "empty.py"
    empty.write_text(
        "import hydra\n\n\n@hydra.main(version_base='1.3', config_path='conf', config_name='config')\n"
        "def launch(cfg): ...\n\n\nlaunch()\n"
    )  # fmt: skip
    ours, theirs = [], []
    for _ in range(5):  # interleaved, so that a busy machine slows both
        theirs.append(_processor_seconds(empty, tmp_path))
        ours.append(_processor_seconds(ROOT / "launch.py", tmp_path))
    assert min(ours) <= 2 * min(theirs)


def _processor_seconds(script: Path, folder: Path) -> float:
    """Processor time of `script --cfg job`: unlike the clock's, other processes do not lengthen it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, str(script), "--cfg", "job"], cwd=folder, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_a_sweep_may_be_asked_for_anywhere_on_the_line():
    from launch import sweep_first

    assert sweep_first(["task=plan", "-m", "model=a,b", "hw=cpu"]) == ["-m", "task=plan", "model=a,b", "hw=cpu"]
    assert sweep_first(["task=plan", "--cfg", "job"]) == ["task=plan", "--cfg", "job"]
