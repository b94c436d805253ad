"""Questions a second of benchmarks: Kinnari's task=evaluate and EleutherAI's lm-eval on the same questions, with the same predictions.

    python benchmarks/evaluate.py                                         # four cases; makes an environment for lm-eval on its first run
    python benchmarks/evaluate.py --cases 15_labels --threads 1 2 --lm-eval-python VENV/bin/python
    python benchmarks/evaluate.py --data-dir DIR                          # real TNEWS and IFLYTEK instead of made-up texts
    python benchmarks/evaluate.py --quick                                 # ours alone, few questions
    OMP_WAIT_POLICY=PASSIVE taskset -c 2,3 python benchmarks/evaluate.py --clock cpu    # on a machine that others use too

Every variant gets the same float32 weights and the same texts: shots and question as the context, labels as what follows it. Each
measurement is a process of its own; the rounds are interleaved (A B C A B C ...), so a noisy neighbour hurts all variants alike. The
figures are medians over rounds; loading is not counted. See benchmarks/README.md for what each variant is.
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

OURS, OURS_BARE, LM_EVAL = "ours", "ours_no_cache", "lm_eval"
VARIANTS = (OURS, OURS_BARE, LM_EVAL)
CASES: dict[str, dict] = {
    "4_labels": {"benchmark": "tnews", "candidates": "sampled", "shots": 0, "questions": 48, "aim": 2.0},
    "15_labels": {"benchmark": "tnews", "candidates": "all", "shots": 0, "questions": 24, "aim": 4.0},
    "119_labels": {"benchmark": "iflytek", "candidates": "all", "shots": 0, "questions": 4, "aim": 15.0},
    "15_labels_5_shots": {"benchmark": "tnews", "candidates": "all", "shots": 5, "questions": 8, "aim": 10.0},
}
SCORE_GAP = 1e-3  # nats between two float32 computations of one log-probability; more means other tokens

LM_EVAL_ENVIRONMENT = Path.home() / ".cache" / "kinnari" / "lm-eval-0.4.13"
LM_EVAL_PACKAGES = ("lm-eval[hf]==0.4.13", "accelerate==1.15.0", "peft==0.21.2", "datasets==5.0.1")


def main() -> None:
    arguments = _parser().parse_args()
    if arguments.quick:
        arguments.variants, arguments.rounds, arguments.questions = [OURS, OURS_BARE], 1, 2
    python = {name: _lm_eval_python(arguments) if name == LM_EVAL else sys.executable for name in arguments.variants}
    with tempfile.TemporaryDirectory() as folder:
        cases = {name: {**CASES[name], "questions": arguments.questions or CASES[name]["questions"]} for name in arguments.cases}
        given = None if arguments.data_dir is None else str(Path(arguments.data_dir).expanduser().resolve())
        settings = {**vars(arguments), "cases": cases, "folder": folder, "data_dir": given or str(Path(folder) / "data")}
        parted = _in_a_process("prepare", {**settings, "threads": 1}, sys.executable)["parted"]
        rounds = {
            f"{case}, {threads} threads" if threads > 1 else f"{case}, 1 thread": _rounds(settings, case, threads, python)
            for threads in arguments.threads
            for case in cases
        }
    table = {key: {variant: _summary(rows) for variant, rows in of.items()} for key, of in rounds.items()}
    compared = {key: _compared(of) for key, of in rounds.items() if LM_EVAL in of}
    ratios = {key: _ratios(of) for key, of in rounds.items()}
    _print_table(table, ratios, compared, cases, parted)
    kept = {key: {name: [_without_scores(row) for row in rows] for name, rows in of.items()} for key, of in rounds.items()}
    report = {"settings": settings, "results": table, "ratios": ratios, "compared": compared, "parted": parted, "rounds": kept}
    print(json.dumps(report, ensure_ascii=False))


def _rounds(settings: dict, case: str, threads: int, python: dict[str, str]) -> dict[str, list[dict]]:
    """All rounds of one case."""
    rows: dict[str, list[dict]] = {variant: [] for variant in python}
    own = {**settings, "case_name": case, "case": settings["cases"][case], "threads": threads}
    for number in range(settings["rounds"]):
        for variant in python:
            row = _in_a_process(variant, own, python[variant])
            rows[variant].append({**row, "per_second": row["questions"] / row["seconds"]})
            speed = f"{rows[variant][-1]['per_second']:9.3f} questions/s"
            print(f"{case}, threads {threads}, round {number + 1}/{settings['rounds']}  {variant:<15}{speed}", file=sys.stderr)
    return rows


def _summary(rows: list[dict]) -> dict:
    """Medians over rounds; what is the same in every round from the first."""
    medians = {key: statistics.median(row[key] for row in rows) for key in ("per_second", "seconds", "peak_gib")}
    again = statistics.median(row["again_seconds"] for row in rows) if "again_seconds" in rows[0] else None
    return {**medians, "again_seconds": again, "questions": rows[0]["questions"], "accuracy": rows[0]["accuracy"]}


def _ratios(rounds: dict[str, list[dict]]) -> dict[str, float]:
    """Speed of ours over lm-eval's, in pairs of one round: what slows a round slows both."""
    if LM_EVAL not in rounds:
        return {}
    return {
        mine: statistics.median(a["per_second"] / b["per_second"] for a, b in zip(rounds[mine], rounds[LM_EVAL], strict=True))
        for mine in (OURS, OURS_BARE)
        if mine in rounds
    }


def _compared(rounds: dict[str, list[dict]]) -> dict:
    """Predictions and scores of one of ours beside lm-eval's.

    Returns:
        `largest_gap`: nats between the scores of one candidate; `gaps`: candidates whose scores differ by more than rounding; `differ`:
        of each question with another prediction by how much each side prefers its own.
    """
    mine = next((rounds[name][0] for name in (OURS, OURS_BARE) if name in rounds), None)
    if mine is None:
        return {}
    theirs = rounds[LM_EVAL][0]
    pairs = [
        (one, other) for a, b in zip(mine["scores"], theirs["scores"], strict=True) for one, other in zip(a, b, strict=True)
    ]  # fmt: skip
    gaps = [abs(one - other) for one, other in pairs]
    differ = [
        {"question": i, "ours": a, "theirs": b, "ours_prefers_by": mine["scores"][i][a] - mine["scores"][i][b],
         "theirs_prefers_by": theirs["scores"][i][b] - theirs["scores"][i][a]}
        for i, (a, b) in enumerate(zip(mine["predictions"], theirs["predictions"], strict=True))
        if a != b
    ]  # fmt: skip
    return {"largest_gap": max(gaps), "gaps": sum(gap > SCORE_GAP for gap in gaps), "candidates": len(gaps), "differ": differ}


def _print_table(table: dict, ratios: dict, compared: dict, cases: dict[str, dict], parted: dict[str, int]) -> None:
    heads = ("questions/s", "s/question", "again s", "peak GiB", "accuracy", "/ lm_eval", "aim")
    print(f"{'case':<32}{'variant':<15}" + "".join(f"{head:>12}" for head in heads))
    for key, rows in table.items():
        case = key.partition(",")[0]
        for variant, row in rows.items():
            again = "-" if row["again_seconds"] is None else f"{row['again_seconds']:.3f}"
            ratio = ratios[key].get(variant)
            against = "-" if ratio is None else f"{ratio:.2f}"
            speed = f"{row['per_second']:>12.3f}{row['seconds'] / row['questions']:>12.3f}{again:>12}{row['peak_gib']:>12.2f}"
            print(f"{key:<32}{variant:<15}{speed}{row['accuracy']:>12.3f}{against:>12}{cases[case]['aim']:>12.0f}")
    for key, found in compared.items():
        if found:
            case = key.partition(",")[0]
            questions = table[key][LM_EVAL]["questions"]
            same = f"{questions - len(found['differ'])} of {questions} predictions equal"
            scores = f"scores at most {found['largest_gap']:.1e} nats apart, {found['gaps']} of {found['candidates']} by more than rounding"
            print(f"{key}: {same}; {scores}; {parted[case]} labels begin at another token")
            for one in found["differ"]:
                print(f"    {one}")


def _without_scores(row: dict) -> dict:
    return {name: value for name, value in row.items() if name != "scores"}


def _in_a_process(variant: str, settings: dict, python: str) -> dict:
    """One variant measured once in a fresh process, whose last line of output is its result."""
    threads = str(settings["threads"])
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "false",
                   "HF_HUB_OFFLINE": "1"}  # fmt: skip
    script = Path(__file__).with_name("evaluate_harness.py" if variant == LM_EVAL else "evaluate_child.py")
    command = [python, str(script), json.dumps({**settings, "variant": variant})]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{variant} failed:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _lm_eval_python(arguments: argparse.Namespace) -> str:
    """The interpreter that has lm-eval, whose environment is made where none is named."""
    if arguments.lm_eval_python:
        return arguments.lm_eval_python
    python = LM_EVAL_ENVIRONMENT / "bin" / "python"
    if not python.is_file():
        same = [f"{name}=={importlib.metadata.version(name)}" for name in ("torch", "transformers")]  # the same kernels and models
        print(f"making an environment for lm-eval in {LM_EVAL_ENVIRONMENT}: {' '.join([*LM_EVAL_PACKAGES, *same])}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(LM_EVAL_ENVIRONMENT)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *LM_EVAL_PACKAGES, *same], check=True)
    return str(python)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2_135m", help="a causal model's file of conf/model")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--questions", type=int, help="of every case; without it few where one takes long")
    parser.add_argument("--data-dir", help="a folder with tnews and iflytek in their public layout; made-up texts without it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", nargs="+", type=int, default=[2])
    parser.add_argument(
        "--clock", choices=("wall", "cpu"), default="wall", help="cpu: processor time over threads, where others use the machine too"
    )
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--lm-eval-batch", type=int, default=8, help="rows of a forward of lm-eval")
    parser.add_argument("--lm-eval-python", help=f"interpreter with lm-eval 0.4.13; without it one is made in {LM_EVAL_ENVIRONMENT}")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--override", nargs="*", default=[], help="further settings of ours, as for launch.py")
    parser.add_argument("--quick", action="store_true", help="ours alone, two questions a case, one round")
    return parser


if __name__ == "__main__":
    main()
