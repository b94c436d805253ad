"""slurm/train.sbatch with stand-ins for srun and scontrol: what it asks of them, and two of its nodes as processes of this machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "slurm" / "train.sbatch"
# Runs what it is given on every node, as SLURM does: one task each, with the node's number.
SRUN = """#!/usr/bin/env bash
while [[ $1 == --* ]]; do shift; done
pids=()
for ((node = 0; node < SLURM_JOB_NUM_NODES; node++)); do
    SLURM_NODEID=$node SLURM_PROCID=$node "$@" &
    pids+=($!)
done
status=0
for pid in "${pids[@]}"; do wait "$pid" || status=$?; done
exit "$status"
"""
SCONTROL = """#!/usr/bin/env bash
echo "$@" >> "$SCONTROL_LOG"
if [[ $1 == show ]]; then printf '127.0.0.1\\n127.0.0.1\\n'; fi
"""


@pytest.fixture
def cluster(tmp_path) -> dict[str, str]:
    """The environment of a job whose programs are stand-ins."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in {"srun": SRUN, "scontrol": SCONTROL}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    kept = {k: v for k, v in os.environ.items() if not k.startswith("SLURM")}
    return kept | {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "SCONTROL_LOG": str(tmp_path / "scontrol.log"),
        "SLURM_JOB_ID": str(10_000 + os.getpid()),  # the port of the rendezvous comes from it
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_SUBMIT_DIR": str(ROOT),
        "KINNARI_OUTPUTS": str(tmp_path / "outputs"),
        "KINNARI_PYTHON": sys.executable,
    }


def submit(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", str(SCRIPT), *words], env=environment, capture_output=True, text=True, check=False)


def stand_in(tmp_path: Path, environment: dict[str, str], status: int, told: str) -> Path:
    """Instead of Python: keeps its words, leaves a result.json and ends with a status."""
    program = tmp_path / "python"
    folder = f"{environment['KINNARI_OUTPUTS']}/{environment['SLURM_JOB_ID']}"
    lines = [
        f'printf "%s\\n" "$@" > {tmp_path}/words',
        f"mkdir -p {folder}",
        f"printf '%s' '{told}' > {folder}/result.json",
        f"exit {status}",
    ]
    program.write_text("#!/bin/sh\n" + "\n".join(lines) + "\n")
    program.chmod(0o755)
    environment["KINNARI_PYTHON"] = str(program)
    return tmp_path / "words"


def test_shellcheck_has_nothing_to_say():
    program = shutil.which("shellcheck", path=str(Path(sys.executable).parent)) or shutil.which("shellcheck")
    assert program, "pip install 'kinnari[test]'"
    done = subprocess.run([program, str(SCRIPT)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_one_task_per_node_and_a_warning_before_the_time_is_up():
    asked = re.findall(r"^#SBATCH --([\w-]+)(?:=(\S+))?$", SCRIPT.read_text(encoding="utf-8"), re.MULTILINE)
    options = dict(asked)
    assert options["ntasks-per-node"] == "1"
    assert options["signal"] == "TERM@300"  # to the steps, not to this script, which waits for them
    assert {"requeue", "open-mode", "time", "gpus-per-node"} <= set(options)
    lines = SCRIPT.read_text(encoding="utf-8").splitlines()
    last = max(i for i, line in enumerate(lines) if line.startswith("#SBATCH"))
    assert all(line.startswith("#") for line in lines[: last + 1]), "sbatch stops reading options at the first command"


def test_launch_is_told_nodes_folder_and_to_go_on(cluster, tmp_path):
    words = stand_in(tmp_path, cluster, 0, '{"status": "done"}')
    cluster["SLURM_JOB_NUM_NODES"] = "1"
    assert submit(cluster, "model=xglm7b", "task.prompts=[a b]").returncode == 0
    folder = f"{cluster['KINNARI_OUTPUTS']}/{cluster['SLURM_JOB_ID']}"
    assert words.read_text().splitlines() == [
        "launch.py", "hw.num_nodes=1", "checkpoint.resume=auto", "model=xglm7b", "task.prompts=[a b]", f"output_dir={folder}",
    ]  # fmt: skip
    assert not (tmp_path / "scontrol.log").exists(), "a run that is done does not come back"


def test_a_run_whose_time_was_up_goes_back_into_the_queue(cluster, tmp_path):
    stand_in(tmp_path, cluster, 0, '{\n  "task": "sft",\n  "status": "interrupted"\n}')
    assert submit(cluster).returncode == 0
    assert (tmp_path / "scontrol.log").read_text().split() == ["requeue", cluster["SLURM_JOB_ID"]]


def test_a_failure_is_the_jobs_and_is_not_repeated(cluster, tmp_path):
    stand_in(tmp_path, cluster, 2, '{"status": "interrupted"}')
    assert submit(cluster).returncode == 2
    assert not (tmp_path / "scontrol.log").exists()


def test_a_sweep_is_sent_to_the_launcher_for_it(cluster):
    done = submit(cluster, "-m", "optimizer.lr=1e-4,1e-5")
    assert done.returncode == 2 and "hydra/launcher=submitit_slurm" in done.stderr


@pytest.mark.slow
def test_two_nodes_train_one_model(cluster, tmp_path):
    cluster["SLURM_JOB_NUM_NODES"] = "2"
    words = ["model=tiny_causal", "hw=cpu", "strategy=lora", "strategy/parallel=ddp", "trainer.precision=32-true", "trainer.max_steps=2"]
    done = submit(cluster, *words, "held_out.most=4", "task.samples=0", "task.export_merged=false", "data.chatterbot.limit=60")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "outputs" / cluster["SLURM_JOB_ID"]
    told = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    assert (told["status"], told["steps"]) == ("done", 2)
    assert "rank 0 of 2" in done.stdout + done.stderr and "rank 1 of 2" in done.stdout + done.stderr
    assert len(set(re.findall(r"config_hash=(\w+)", done.stdout + done.stderr))) == 1
    assert not list(folder.glob("config.yaml.*")), "what was written aside got its name"
