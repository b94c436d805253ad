"""Kinnari's variants of `benchmarks/evaluate.py`, measured in this process, and what all variants start from.

python benchmarks/evaluate_child.py '<settings as json>'       # prints one line of json last
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from evaluate_data import write_data
from omegaconf import DictConfig
from sft_child import clock_of

from kinnari.evaluation.examinee import Examination, Examinee, examination
from kinnari.evaluation.likelihood import LikelihoodCache
from kinnari.evaluation.likelihood.encoding import Piece, encode
from kinnari.models.fingerprint import model_fingerprint
from kinnari.strategies.throughput import peak_memory_gib
from kinnari.tasks import build
from kinnari.tasks.benchmarks import chosen
from kinnari.tasks.compose import compose
from kinnari.tasks.evaluate import Examined, of_model, sit
from kinnari.tasks.logs import ignore_known_warnings

WARM = list(range(100, 164))  # tokens of a forward that nobody times: memory and threads are there afterwards


def config(settings: dict[str, Any], case: dict[str, Any], output_dir: str) -> DictConfig:
    """The run of `python launch.py task=evaluate` on one case."""
    return compose([
        "task=evaluate",
        f"model={settings['model']}",
        "model.dtype=float32",
        "hw=cpu",
        f"benchmark=[{case['benchmark']}]",
        f"benchmark.data_dir={settings['data_dir']}",
        f"benchmark.candidates={case['candidates']}",
        f"benchmark.shots={case['shots']}",
        f"benchmark.limit={case['questions']}",
        f"seed={settings['seed']}",
        f"output_dir={output_dir}",
        *settings["override"],
    ])  # fmt: skip


def exam_of(cfg: DictConfig, examined: Examined) -> Examination:
    """The one benchmark of a case, with its questions."""
    (benchmark,) = chosen(cfg.benchmark)
    return examination(benchmark, examined.tokenizer, examined.max_length)


def prepare(settings: dict[str, Any], output_dir: str) -> dict[str, Any]:
    """Into the folder: `data/` unless there is some, `model/` in transformers' form and float32, `CASE.jsonl` as lm-eval reads it.

    Returns:
        Of each case how many candidates lm-eval parts from their context at another token than Kinnari.
    """
    folder = Path(settings["folder"])
    if settings["data_dir"] == str(folder / "data"):
        write_data(folder / "data", max(case["questions"] for case in settings["cases"].values()), settings["seed"])
    parted = {}
    for name, case in settings["cases"].items():
        cfg = config(settings, case, output_dir)
        examined = of_model(cfg)
        questions: Any = exam_of(cfg, examined).questions
        rows = [
            {"context": q.header + q.candidates[0].before, "choices": [c.label for c in q.candidates], "gold": q.gold} for q in questions
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        parted[name] = sum(_parted_elsewhere(examined.tokenizer, row["context"], row["choices"]) for row in rows)
    model, tokenizer = build.load_for_inference(cfg)
    model.save_pretrained(str(folder / "model"))
    tokenizer.save_pretrained(folder / "model")
    return {"parted": parted}


def _parted_elsewhere(tokenizer: Any, context: str, labels: list[str]) -> int:
    """Labels that do not begin where the tokens of the context alone would end."""
    length = len(tokenizer(context)["input_ids"])
    return sum(candidate.start != length for candidate in encode(tokenizer, [Piece(context, label, "", "") for label in labels]))


def ours(settings: dict[str, Any], output_dir: str) -> dict[str, Any]:
    """What task=evaluate does between loading a model and writing files; with a cache that is empty at first, a second time too."""
    cfg = config(settings, settings["case"], output_dir)
    examined = of_model(cfg)
    model: Any = examined.load()
    kept = settings["variant"] == "ours"
    cache = LikelihoodCache(Path(output_dir) / "likelihoods.sqlite", model_fingerprint(model)) if kept else None
    examinee = Examinee(
        model=model,
        tokenizer=examined.tokenizer,
        token_budget=cfg.benchmark.token_budget,
        max_length=examined.max_length,
        cache=cache,
        seed=cfg.benchmark.seed,
    )
    with torch.inference_mode():
        model(input_ids=torch.tensor([WARM]))
    now = clock_of(settings)
    began = now()
    exam = exam_of(cfg, examined)
    ((outcome,), _) = sit(examinee, [exam], show=False)
    seconds = now() - began
    found = {
        "seconds": seconds,
        "questions": len(outcome.rows),
        "accuracy": outcome.numbers["accuracy"],
        "scores": [row["scores"] for row in outcome.rows],
        "predictions": [row["prediction"] for row in outcome.rows],
        "peak_gib": peak_memory_gib(torch.device("cpu")),
    }
    if kept:
        began = now()
        ((again,), _) = sit(replace(examinee), [exam], show=False)
        assert again.rows == outcome.rows, "the cache gives other numbers than the model"
        found["again_seconds"] = now() - began
    return found


def main() -> None:
    settings = json.loads(sys.argv[1])
    torch.set_num_threads(settings["threads"])
    ignore_known_warnings()
    with tempfile.TemporaryDirectory() as output_dir:
        measured = prepare if settings["variant"] == "prepare" else ours
        print(json.dumps(measured(settings, output_dir)))


if __name__ == "__main__":
    main()
