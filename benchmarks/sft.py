"""Speed and memory of supervised fine-tuning: Kinnari, a bare PyTorch loop on the same batches, and TRL's SFTTrainer.

    python benchmarks/sft.py                                         # chatterbot English, LoRA; needs the extra `bench`
    python benchmarks/sft.py --data alpaca.json --rounds 5           # a json list or json lines in alpaca's format
    python benchmarks/sft.py --tuning full --variants ours bare trl
    python benchmarks/sft.py --quick                                 # ours and the bare loop only, about a minute

Every variant gets the same model, records, token ids, trained tokens, optimizer and records per step. Each measurement is a
process of its own; the rounds are interleaved (A B C A B C ...), so a noisy neighbour hurts all variants alike. The figures are
medians over rounds, the first step of each process left out. See benchmarks/README.md for what each variant is.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

OURS = "ours"
BARE = ("bare", "bare_selected")
TRL = ("trl", "trl_no_checkpoint", "trl_grouped", "trl_padding_free", "trl_packed")
VARIANTS = (OURS, *BARE, *TRL)
MEDIANS = ("trained_per_second", "real_per_second", "step_seconds", "padding", "peak_gib", "step_gib")


def main() -> None:
    arguments = _parser().parse_args()
    if arguments.quick:
        arguments.variants, arguments.rounds, arguments.steps = [OURS, *BARE], 1, 3
    results: dict[str, list[dict]] = {variant: [] for variant in arguments.variants}
    for number in range(arguments.rounds):
        for variant in arguments.variants:
            row = _in_a_process(variant, arguments)
            results[variant].append(row)
            speed = f"{row['trained_per_second']:8.1f} trained tokens/s, peak {row['peak_gib']:.2f} GiB"
            print(f"round {number + 1}/{arguments.rounds}  {variant:<18}{speed}", file=sys.stderr)
    table = {variant: _summary(rows) for variant, rows in results.items()}
    _print_table(table)
    ratios = _ratios(results, table)
    for name, value in ratios.items():
        print(f"{name:<34}{value:6.3f}")
    print(json.dumps({"settings": vars(arguments), "results": table, "ratios": ratios, "rounds": results}))


def _summary(rows: list[dict]) -> dict:
    """Medians over rounds; what is the same in every round (counts, losses) from the first."""
    same = {key: rows[0][key] for key in ("steps", "records", "trained", "losses")}
    return {**{key: statistics.median(row[key] for row in rows) for key in MEDIANS}, **same}


def _ratios(results: dict[str, list[dict]], table: dict[str, dict]) -> dict[str, float]:
    """Speed of ours over the others, in pairs of one round (what slows a round slows both), and memory of ours over theirs."""
    if OURS not in table:
        return {}
    ratios = {}
    for variant in table:
        if variant == OURS:
            continue
        pairs = zip(results[OURS], results[variant], strict=True)
        ratios[f"speed: ours / {variant}"] = statistics.median(a["trained_per_second"] / b["trained_per_second"] for a, b in pairs)
        ratios[f"peak memory: ours / {variant}"] = table[OURS]["peak_gib"] / table[variant]["peak_gib"]
    tuned = [variant for variant in table if variant in TRL[1:]]
    if tuned:
        best = max(tuned, key=lambda variant: table[variant]["trained_per_second"])
        ratios[f"speed: ours / best TRL ({best})"] = ratios[f"speed: ours / {best}"]
        leanest = min(tuned, key=lambda variant: table[variant]["peak_gib"])
        ratios[f"peak memory: ours / leanest TRL ({leanest})"] = ratios[f"peak memory: ours / {leanest}"]
    return ratios


def _print_table(table: dict[str, dict]) -> None:
    heads = ("trained/s", "real/s", "s/step", "padding", "peak GiB", "of steps", "records", "trained", "first loss", "last loss")
    print(f"{'variant':<18}" + "".join(f"{head:>11}" for head in heads))
    for variant, row in table.items():
        speeds = f"{row['trained_per_second']:>11.1f}{row['real_per_second']:>11.1f}{row['step_seconds']:>11.3f}{row['padding']:>11.1%}"
        memory = f"{row['peak_gib']:>11.2f}{row['step_gib']:>11.2f}{row['records']:>11}{row['trained']:>11}"
        print(f"{variant:<18}{speeds}{memory}{row['losses'][0]:>11.4f}{row['losses'][-1]:>11.4f}")


def _in_a_process(variant: str, arguments: argparse.Namespace) -> dict:
    """One variant measured once in a fresh process of `sft_child.py`, whose last line of output is its result."""
    settings = {**vars(arguments), "variant": variant}
    threads = str(arguments.threads)
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, str(Path(__file__).with_name("sft_child.py")), json.dumps(settings)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{variant} failed:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="alpaca-format file; the ChatterBot corpus in English without it")
    parser.add_argument("--model", default="smollm2_135m", help="a file of conf/model")
    parser.add_argument("--tuning", choices=("lora", "full"), default="lora")
    parser.add_argument("--precision", default="auto", help="as trainer.precision")
    parser.add_argument("--micro", type=int, default=4, help="rows of one forward pass")
    parser.add_argument("--accumulation", type=int, default=4, help="micro x accumulation records make a step")
    parser.add_argument("--max-length", type=int, default=512, help="tokens a record, and a packed row")
    parser.add_argument("--steps", type=int, default=6, help="timed steps, after one that is not")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--clock", choices=("wall", "cpu"), default="wall", help="cpu: processor time over threads, where others use the machine too"
    )
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--override", nargs="*", default=[], help="further settings of ours and the bare loop, as for launch.py")
    parser.add_argument("--quick", action="store_true", help="ours and the bare loop, one short round")
    return parser


if __name__ == "__main__":
    main()
