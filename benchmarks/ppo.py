"""Speed and memory of PPO: Kinnari on one backbone, TRL's PPOTrainer, and a naive loop over four separate models.

    python benchmarks/ppo.py                                    # batch 8 and 32; makes an environment for TRL on the first run
    python benchmarks/ppo.py --trl-python VENV/bin/python       # an environment with TRL 0.24 that is there already
    python benchmarks/ppo.py --batch 8 --variants ours naive    # without TRL
    python benchmarks/ppo.py --quick                            # ours and the naive loop, one short round

Every variant gets the same weights, prompts, answers' length, epochs, optimizer and number of optimizer steps. Each measurement is a
process of its own; the rounds are interleaved (A B C A B C ...), so a noisy neighbour hurts all variants alike. The figures are medians
over rounds, the first update of each process left out. See benchmarks/README.md for what each variant is.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

OURS = ("ours", "ours_full")
NAIVE = ("naive", "naive_lora")
TRL = ("trl", "trl_lora")
VARIANTS = (*OURS, *NAIVE, *TRL)
MEDIANS = ("samples_per_second", "update_seconds", "peak_gib", "run_gib", "step_gib")
SAME = ("updates", "tokens", "probe", "first_kl")
LR = {"lora": 2e-4, "full": 1e-6}

TRL_ENVIRONMENT = Path.home() / ".cache" / "kinnari" / "trl-0.24"
TRL_PACKAGES = ("trl==0.24.0", "transformers==4.57.6", "peft==0.21.2", "accelerate==1.15.0", "datasets==5.0.1")
"""The last release with PPOTrainer, and the newest transformers it runs with."""


def main() -> None:
    arguments = _parser().parse_args()
    if arguments.quick:
        arguments.variants, arguments.batch, arguments.rounds, arguments.updates = ["ours", "naive"], [8], 1, 1
    python = {name: _trl_python(arguments) if name in TRL else sys.executable for name in arguments.variants}
    for batch in arguments.batch:
        with tempfile.TemporaryDirectory() as folder:
            _compare({**vars(arguments), "batch": batch, "folder": folder}, python)


def _compare(settings: dict, python: dict[str, str]) -> None:
    """All variants at one batch size; prints the table, the ratios, and a line of json."""
    settings["micro"] = min(settings["micro"], settings["batch"])
    if settings["batch"] % settings["micro"]:
        raise SystemExit(f"--batch {settings['batch']} must be a multiple of --micro {settings['micro']}.")
    _in_a_process("prepare", settings, sys.executable)
    rounds: dict[str, list[dict]] = {variant: [] for variant in python}
    for number in range(settings["rounds"]):
        for variant in python:
            row = _in_a_process(variant, settings, python[variant])
            rounds[variant].append(row)
            speed = f"{row['samples_per_second']:7.3f} samples/s, peak {row['peak_gib']:.2f} GiB"
            print(f"batch {settings['batch']}, round {number + 1}/{settings['rounds']}  {variant:<12}{speed}", file=sys.stderr)
    table = {variant: _summary(rows) for variant, rows in rounds.items()}
    _check_same_work(table)
    _print_table(table, settings["batch"])
    ratios = _ratios(rounds, table)
    for name, value in ratios.items():
        print(f"{name:<40}{value:6.3f}")
    print(json.dumps({"settings": settings, "results": table, "ratios": ratios, "rounds": rounds}))


def _summary(rows: list[dict]) -> dict:
    """Medians over rounds; what is the same in every round from the first."""
    return {**{key: statistics.median(row[key] for row in rows) for key in MEDIANS}, **{key: rows[0][key] for key in SAME}}


def _check_same_work(table: dict[str, dict]) -> None:
    """Equal weights (log-probabilities of one prompt), equal counts of tokens, and a reference that is the policy at first."""
    for name, tolerance in (("probe", 0.05), ("tokens", 0), ("updates", 0), ("first_kl", 1e-3)):
        found = {variant: row[name] for variant, row in table.items()}
        if max(found.values()) - min(found.values()) > tolerance:
            raise SystemExit(f"the variants do not do the same work: {name} is {found}")


def _ratios(rounds: dict[str, list[dict]], table: dict[str, dict]) -> dict[str, float]:
    """Speed of ours over the others, in pairs of one round (what slows a round slows both), and memory of ours over theirs."""
    ratios = {}
    for mine in (name for name in OURS if name in table):
        for other in (name for name in table if name not in OURS):
            pairs = zip(rounds[mine], rounds[other], strict=True)
            ratios[f"speed: {mine} / {other}"] = statistics.median(a["samples_per_second"] / b["samples_per_second"] for a, b in pairs)
            ratios[f"peak memory: {mine} / {other}"] = table[mine]["peak_gib"] / table[other]["peak_gib"]
    return ratios


def _print_table(table: dict[str, dict], batch: int) -> None:
    heads = ("samples/s", "s/update", "peak GiB", "of run", "of steps", "tokens", "probe", "first KL")
    print(f"batch {batch:<6}" + "".join(f"{head:>11}" for head in heads))
    for variant, row in table.items():
        memory = "".join(f"{row[name]:>11.2f}" for name in ("peak_gib", "run_gib", "step_gib"))
        sanity = f"{row['tokens']:>11}{row['probe']:>11.3f}{row['first_kl']:>11.1e}"
        print(f"{variant:<12}{row['samples_per_second']:>11.3f}{row['update_seconds']:>11.2f}{memory}{sanity}")


def _in_a_process(variant: str, settings: dict, python: str) -> dict:
    """One variant measured once in a fresh process, whose last line of output is its result."""
    lr = LR["lora" if variant in ("ours", "naive_lora", "trl_lora") else "full"] if settings["lr"] is None else settings["lr"]
    threads = str(settings["threads"])
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "false",
                   "TRL_EXPERIMENTAL_SILENCE": "1"}  # fmt: skip
    script = Path(__file__).with_name("ppo_trl.py" if variant in TRL else "ppo_child.py")
    command = [python, str(script), json.dumps({**settings, "variant": variant, "lr": lr})]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{variant} failed:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _trl_python(arguments: argparse.Namespace) -> str:
    """The interpreter that has TRL 0.24, whose environment is made where none is named."""
    if arguments.trl_python:
        return arguments.trl_python
    python = TRL_ENVIRONMENT / "bin" / "python"
    if not python.is_file():
        packages = [*TRL_PACKAGES, f"torch=={importlib.metadata.version('torch')}"]  # the kernels are torch's: the same for all
        print(f"making an environment for TRL in {TRL_ENVIRONMENT}: {' '.join(packages)}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(TRL_ENVIRONMENT)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=True)
    return str(python)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2_135m", help="a file of conf/model; the token that never occurs is SmolLM2's")
    parser.add_argument("--batch", nargs="+", type=int, default=[8, 32], help="answers of an update, and of each of its steps")
    parser.add_argument("--micro", type=int, default=8, help="rows of one forward with gradients")
    parser.add_argument("--response", type=int, default=32, help="tokens of every answer")
    parser.add_argument("--epochs", type=int, default=4, help="optimizer steps of an update")
    parser.add_argument("--updates", type=int, default=2, help="timed updates, after one that is not")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--clock", choices=("wall", "cpu"), default="wall", help="cpu: processor time over threads, where others use the machine too"
    )
    parser.add_argument("--lr", type=float, help="2e-4 with LoRA and 1e-6 in full without it")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--trl-python", help=f"interpreter with TRL 0.24; without it one is made in {TRL_ENVIRONMENT}")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--override", nargs="*", default=[], help="further settings of ours, as for launch.py")
    parser.add_argument("--quick", action="store_true", help="ours and the naive loop, one short round")
    return parser


if __name__ == "__main__":
    main()
