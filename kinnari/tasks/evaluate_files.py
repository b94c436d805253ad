"""What task=evaluate writes.

examples.jsonl           a question a line: benchmark, id, prompt, candidates as scored, scores, prediction, gold
summary.json             of each benchmark its numbers, and how the model was asked
NAME_submission.json     of examinations: the letters, as C-Eval's site takes them
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from kinnari.evaluation.benchmarks import Exam
from kinnari.evaluation.examinee import Examination
from kinnari.evaluation.outcome import Outcome


def flat(outcomes: Sequence[Outcome]) -> dict[str, float | None]:
    """NAME/metric -> value; null where there is none."""
    return {
        f"{outcome.name}/{metric}": None if math.isnan(value) else value
        for outcome in outcomes
        for metric, value in outcome.numbers.items()
    }


def write(cfg: DictConfig, exams: Sequence[Examination], outcomes: Sequence[Outcome], dtype: str) -> None:
    """All files of a finished run.

    Args:
        dtype: what the weights are held in.
    """
    folder = Path(cfg.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "examples.jsonl").open("w", encoding="utf-8", errors="backslashreplace") as stream:
        for outcome in outcomes:
            stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in outcome.rows)
    style = _style(cfg) | {"dtype": dtype}
    summary = {
        outcome.name: {"metric": outcome.metric, "how": outcome.how | style, "numbers": flat([outcome])} for outcome in outcomes
    }  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(summary, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    for exam, outcome in zip(exams, outcomes, strict=True):
        if isinstance(exam.benchmark, Exam):
            letters = exam.benchmark.submission(exam.questions, [row["prediction"] for row in outcome.rows])  # type: ignore[arg-type]
            (folder / f"{outcome.name}_submission.json").write_text(json.dumps(letters, indent=1) + "\n", encoding="utf-8")


def _style(cfg: DictConfig) -> dict[str, Any]:
    """How the model was asked, which moves scores by tens of points."""
    node = cfg.benchmark
    return {
        "chat": node.chat,
        "template": cfg.model.template.name if node.chat else None,
        "seed": node.seed,
        "limit": node.limit,
        "model": cfg.model.name,
        "path": cfg.model.path,
        "adapter": cfg.model.adapter,
        "checkpoint": cfg.checkpoint if isinstance(cfg.checkpoint, str) else None,
    }
