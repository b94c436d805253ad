"""Does PPO learn? Reward and KL by iteration over several seeds, as a picture and a table.

    pip install -e '.[bench]'
    python benchmarks/learning.py --seeds 1 2 3
    python benchmarks/learning.py --tasks rule --seeds 1 2 3 --words ppo.reward_scaling=none --runs outputs/learning_none --out none.svg
    python benchmarks/learning.py --draw                        # again from the runs that are there

Two tasks on the default model: `rule`, a reward that is computed (experiment=rlhf_rule), and `model`, a reward model that the chain has
trained (experiment=rlhf_demo, all of it with every seed, so that data, SFT and reward model differ too). What is done is not done again.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TITLES = {"rule": "a rule: answers of about 40 characters", "model": "a reward model trained by the chain"}


@dataclass(frozen=True)
class Gain:
    """Mean score of answers to held-out prompts before and after; standard error of the difference and sign test over the prompts."""

    before: float
    after: float
    error: float
    sign_p: float

    @property
    def gain(self) -> float:
        return self.after - self.before


@dataclass(frozen=True)
class Run:
    """What one run of PPO has left behind.

    Attributes:
        score, error, kl, tokens: by iteration: mean score of the sampled answers, its standard error, KL from the first policy (nats an
            answer), length.
        held_out: of greedy answers; of a chain also of answers sampled as in PPO.
        seconds: of PPO, with loading and both validations.
    """

    task: str
    seed: int
    score: list[float]
    error: list[float]
    kl: list[float]
    tokens: list[float]
    held_out: dict[str, Gain]
    seconds: float


def main() -> None:
    arguments = _parser().parse_args()
    wanted = [(task, seed) for seed in arguments.seeds for task in arguments.tasks]
    if not arguments.draw:
        with ThreadPoolExecutor(arguments.jobs) as jobs:
            list(jobs.map(lambda job: do(arguments, *job), wanted))
    runs = [read(arguments.runs, task, seed) for task, seed in wanted]
    draw(runs, arguments.out)
    print(table(runs))
    print(json.dumps({task: summary([r for r in runs if r.task == task]) for task in arguments.tasks}))


def do(arguments: argparse.Namespace, task: str, seed: int) -> None:
    """One run in a process of its own, unless it is done; raises CalledProcessError with its last words on standard error."""
    folder = arguments.runs / f"{task}-{seed}"
    if (folder / "result.json").is_file() and json.loads((folder / "result.json").read_text("utf-8"))["status"] == "done":
        return
    words = [f"experiment=rlhf_{'rule' if task == 'rule' else 'demo'}", f"seed={seed}", f"output_dir={folder}", *arguments.words]
    words += ["checkpoint.resume=auto"] if task == "rule" else [f"rlhf.root={arguments.runs}/stages"]
    print("python launch.py", *words, flush=True)
    environment = os.environ | {"OMP_NUM_THREADS": str(arguments.threads), "TOKENIZERS_PARALLELISM": "false"}
    subprocess.run([sys.executable, "launch.py", *words], cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)


def read(runs: Path, task: str, seed: int) -> Run:
    """The numbers of a finished run; of a chain, those of its PPO."""
    folder = runs / f"{task}-{seed}"
    result = json.loads((folder / "result.json").read_text("utf-8"))
    chain = result if "stages" in result else {}
    if chain:
        folder = Path(next(stage["folder"] for stage in result["stages"] if stage["name"] == "ppo"))
        result = json.loads((folder / "result.json").read_text("utf-8"))
    rows: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for line in (folder / "rollouts.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        rows[row["iteration"]].append(row)
    iterations = [rows[i] for i in sorted(rows)]
    means: dict[str, Any] = {key: [statistics.fmean(r[key] for r in part) for part in iterations] for key in ("score", "kl", "tokens")}
    error = [standard_error(part) for part in iterations]
    held_out = {"greedy": Gain(*(result[f"ppo/reward_{key}"] for key in ("before", "after", "gain_se", "sign_p")))}
    if chain:
        held_out["sampled"] = Gain(*(chain[f"reward_{key}"] for key in ("sft", "ppo", "gain_se", "sign_p")))
    return Run(task, seed, **means, error=error, seconds=result["seconds"], held_out=held_out)


def standard_error(rows: Sequence[dict[str, Any]]) -> float:
    """Of the mean score; answers to one prompt are alike, so it is over prompts."""
    by_prompt: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        by_prompt[row["record_id"]].append(row["score"])
    means = [statistics.fmean(scores) for scores in by_prompt.values()]
    return statistics.stdev(means) / math.sqrt(len(means))


def summary(runs: Sequence[Run], how: str = "greedy") -> dict[str, float]:
    """Over seeds: mean gain, its standard error (1 seed: over its prompts), most KL of an iteration."""
    found = [run.held_out[how] for run in runs]
    gains = [part.gain for part in found]
    error = statistics.stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else found[0].error
    return {
        "seeds": len(runs),
        "before": statistics.fmean(part.before for part in found),
        "after": statistics.fmean(part.after for part in found),
        "gain": statistics.fmean(gains),
        "gain_se": error,
        "most_kl": max(max(run.kl) for run in runs),
        "seconds": statistics.fmean(run.seconds for run in runs),
    }


def table(runs: Sequence[Run]) -> str:
    """Markdown; a line a run and one for each task. The error of a run is over its prompts, that of a task over its seeds."""
    lines = [
        "| task | seed | answers | reward before | after | gain | sign test p | most KL, nats | tokens first, last | s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        lengths = f"{run.tokens[0]:.1f}, {run.tokens[-1]:.1f}"
        for how, found in run.held_out.items():
            gain = f"{found.gain:+.3f} ± {found.error:.3f}"
            lines.append(f"| {run.task} | {run.seed} | {how} | {found.before:.3f} | {found.after:.3f} | {gain} | {found.sign_p:.1g} "
                         f"| {max(run.kl):.1f} | {lengths} | {run.seconds:.0f} |")  # fmt: skip
    for task in dict.fromkeys(run.task for run in runs):
        of_task = [run for run in runs if run.task == task]
        for how in of_task[0].held_out:
            s = summary(of_task, how)
            lines.append(f"| **{task}** | {s['seeds']} seeds | {how} | {s['before']:.3f} | {s['after']:.3f} | {s['gain']:+.3f} ± "
                         f"{s['gain_se']:.3f} | | {s['most_kl']:.1f} | | {s['seconds']:.0f} |")  # fmt: skip
    return "\n".join(lines)


def draw(runs: Sequence[Run], path: Path) -> None:
    """Score with its standard error above, KL below, a column for each task, a line for each seed."""
    import matplotlib

    matplotlib.use("svg" if path.suffix == ".svg" else "agg")
    matplotlib.rcParams.update({"svg.hashsalt": "kinnari", "svg.fonttype": "none", "font.size": 9})
    import matplotlib.pyplot as plt

    tasks = list(dict.fromkeys(run.task for run in runs))
    figure, axes = plt.subplots(2, len(tasks), figsize=(4.2 * len(tasks), 4.6), squeeze=False, sharex="col", height_ratios=(2, 1))
    for column, task in enumerate(tasks):
        above, below = axes[0][column], axes[1][column]
        for run in (run for run in runs if run.task == task):
            iterations = range(1, len(run.score) + 1)
            (line,) = above.plot(iterations, run.score, marker=".", label=f"seed {run.seed}")
            low, high = ([s + sign * e for s, e in zip(run.score, run.error, strict=True)] for sign in (-1, 1))
            above.fill_between(iterations, low, high, color=line.get_color(), alpha=0.12, linewidth=0)
            below.plot(iterations, run.kl, marker=".", color=line.get_color())
        above.set(title=TITLES[task], ylabel="score of sampled answers")
        above.legend(frameon=False)
        below.set(xlabel="iteration", ylabel="KL, nats an answer")
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, facecolor="white")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--tasks", nargs="+", choices=TITLES, default=list(TITLES))
    parser.add_argument("--runs", type=lambda word: Path(word).absolute(), default=ROOT / "outputs" / "learning", help="folder of the runs")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "learning.svg", help="picture, .svg or .png")
    parser.add_argument("--words", nargs="*", default=[], help="more words of the command line")
    parser.add_argument("--threads", type=int, default=2, help="of a run")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--draw", action="store_true", help="run nothing")
    return parser


if __name__ == "__main__":
    main()
