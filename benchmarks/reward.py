"""Speed and memory of a reward model: Kinnari's, TRL's RewardTrainer, and what frozen layers save.

    python benchmarks/reward.py                                      # against TRL; needs the extra `bench`
    python benchmarks/reward.py --precision bf16-mixed
    python benchmarks/reward.py --shares                             # ours alone: 0 to 0.9 of the layers frozen, embeddings or not
    taskset -c 0,1 python benchmarks/reward.py --clock cpu           # on a machine that others use too

Every variant gets the same model and head, the same pairs as token ids in the same micro-batches, and AdamW. Each measurement is a
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

OURS: dict[str, dict] = {
    "ours": {},
    "ours_all": {"freeze_fraction": 0.0},
    "ours_separate": {"share_prompts": False},
    "ours_all_separate": {"freeze_fraction": 0.0, "share_prompts": False},
}
TRL = ("trl", "trl_frozen", "trl_no_checkpoint", "trl_frozen_no_checkpoint")
SHARES = (0.0, 0.3, 0.5, 0.7, 0.9)
BELOW: dict[str, dict] = {
    "": {},
    "_recomputed": {"checkpoint_frozen": True},
    "_embeddings": {"train_embeddings": False},
}
FROZEN: dict[str, dict] = {
    f"frozen_{share}{name}": {"freeze_fraction": share, **settings}
    for share in SHARES
    for name, settings in BELOW.items()
    if share or name != "_recomputed"  # without a frozen block there is none to compute again
}
MEDIANS = ("pairs_per_second", "step_seconds", "padding", "peak_gib", "step_gib")


def main() -> None:
    arguments = _parser().parse_args()
    variants = arguments.variants or (list(FROZEN) if arguments.shares else [*OURS, *TRL])
    results: dict[str, list[dict]] = {variant: [] for variant in variants}
    for number in range(arguments.rounds):
        for variant in variants:
            row = _in_a_process(variant, variants, arguments)
            results[variant].append(row)
            speed = f"{row['pairs_per_second']:8.2f} pairs/s, peak {row['peak_gib']:.2f} GiB"
            print(f"round {number + 1}/{arguments.rounds}  {variant:<26}{speed}", file=sys.stderr)
    table = {variant: _summary(rows) for variant, rows in results.items()}
    _print_table(table)
    ratios = _ratios(results, table)
    for name, value in ratios.items():
        print(f"{name:<62}{value:6.3f}")
    print(json.dumps({"settings": {**vars(arguments), "variants": variants}, "results": table, "ratios": ratios, "rounds": results}))


def _summary(rows: list[dict]) -> dict:
    """Medians over rounds; what is the same in every round (counts, losses) from the first."""
    same = {key: rows[0][key] for key in ("steps", "pairs", "trainable", "losses")}
    return {**{key: statistics.median(row[key] for row in rows) for key in MEDIANS}, **same}


def _ratios(results: dict[str, list[dict]], table: dict[str, dict]) -> dict[str, float]:
    """Speed in pairs of one round (what slows a round slows both) and memory: ours over TRL's, or any share over the unfrozen model."""
    frozen = {name: "frozen" in name or name in ("ours", "ours_separate") for name in table}
    ours, trl = [name for name in table if name in OURS], [name for name in table if name in TRL]
    compared = [(one, other) for one in ours for other in trl if frozen[one] >= frozen[other]]
    unfrozen = f"frozen_{SHARES[0]}"
    compared += [(one, unfrozen) for one in table if one in FROZEN and one != unfrozen and unfrozen in table]
    ratios = {}
    for one, other in compared:
        rounds = zip(results[one], results[other], strict=True)
        ratios[f"speed: {one} / {other}"] = statistics.median(a["pairs_per_second"] / b["pairs_per_second"] for a, b in rounds)
        ratios[f"peak memory: {one} / {other}"] = table[one]["peak_gib"] / table[other]["peak_gib"]
        ratios[f"step memory: {one} / {other}"] = table[one]["step_gib"] / table[other]["step_gib"]
    return ratios


def _print_table(table: dict[str, dict]) -> None:
    heads = ("pairs/s", "s/step", "padding", "peak GiB", "of steps", "trainable", "pairs", "first loss", "last loss")
    print(f"{'variant':<26}" + "".join(f"{head:>11}" for head in heads))
    for variant, row in table.items():
        speeds = f"{row['pairs_per_second']:>11.2f}{row['step_seconds']:>11.3f}{row['padding']:>11.1%}"
        memory = f"{row['peak_gib']:>11.2f}{row['step_gib']:>11.2f}{row['trainable'] / 1e6:>10.1f}M{row['pairs']:>11}"
        print(f"{variant:<26}{speeds}{memory}{row['losses'][0]:>11.5f}{row['losses'][-1]:>11.5f}")


def _in_a_process(variant: str, variants: list[str], arguments: argparse.Namespace) -> dict:
    """One variant measured once in a fresh process of `reward_child.py`, whose last line of output is its result."""
    frozen = {} if variant in ("trl", "trl_no_checkpoint") else {"freeze_fraction": arguments.freeze_fraction}
    reward = {"freeze_fraction": 0.0, **frozen, **OURS.get(variant, {}), **FROZEN.get(variant, {})}
    settings = {**vars(arguments), "variants": variants, "variant": variant, "reward": reward}
    threads = str(arguments.threads)
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, str(Path(__file__).with_name("reward_child.py")), json.dumps(settings)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{variant} failed:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="chatterbot_ranked", help="a file of conf/data with ranked answers; --override sets its path")
    parser.add_argument("--model", default="smollm2_135m", help="a file of conf/model")
    parser.add_argument("--precision", default="32-true", choices=("32-true", "bf16-mixed"))
    parser.add_argument("--freeze-fraction", type=float, default=0.7, help="of all variants that freeze")
    parser.add_argument("--micro", type=int, default=4, help="pairs of one forward pass")
    parser.add_argument("--accumulation", type=int, default=4, help="micro x accumulation pairs make a step")
    parser.add_argument("--max-length", type=int, default=512, help="tokens; longer pairs are left out")
    parser.add_argument("--steps", type=int, default=4, help="timed steps, after one that is not")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--clock", choices=("wall", "cpu"), default="wall", help="cpu: processor time over threads, where others use the machine too"
    )
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--shares", action="store_true", help="memory and time by the share of frozen layers, instead of TRL")
    parser.add_argument("--variants", nargs="+", choices=[*OURS, *TRL, *FROZEN])
    parser.add_argument("--override", nargs="*", default=[], help="further settings of ours, as for launch.py")
    return parser


if __name__ == "__main__":
    main()
