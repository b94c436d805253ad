"""Two models on the same questions: who is right where the other is wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kinnari.evaluation.paired import PairedDifference, paired_difference

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The second less the first, over the questions that both were asked and that have answers.

    Attributes:
        benchmark: its name.
        first, second: names of the models.
        n: questions.
        difference: of the share of right answers; `sign_p` is McNemar's exact test, which looks at the questions where one alone is right.
        better, worse: ids of the questions that the second alone, and the first alone, has right.
    """

    benchmark: str
    first: str
    second: str
    n: int
    difference: PairedDifference
    better: tuple[str, ...]
    worse: tuple[str, ...]


def right(row: Row) -> float | None:
    """1 or 0 for a line of examples.jsonl; None where nobody knows."""
    if "exact_match" in row:
        return float(row["exact_match"])
    if not isinstance(row["gold"], int):
        return None
    return float(row["prediction"] == row["gold"])


def comparison(benchmark: str, first: tuple[str, Sequence[Row]], second: tuple[str, Sequence[Row]], *, seed: int = 0) -> Comparison | None:
    """Of one benchmark; None where no labelled question is common.

    Args:
        first, second: name of the model, and its lines of examples.jsonl of this benchmark.
        seed: of the bootstrap.
    """
    one, other = ({str(row["id"]): row for row in rows} for _, rows in (first, second))
    marks = [
        (name, a, b) for name in one if name in other and (a := right(one[name])) is not None and (b := right(other[name])) is not None
    ]
    if not marks:
        return None
    return Comparison(
        benchmark=benchmark,
        first=first[0],
        second=second[0],
        n=len(marks),
        difference=paired_difference([a for _, a, _ in marks], [b for _, _, b in marks], seed=seed),
        better=tuple(name for name, a, b in marks if b > a),
        worse=tuple(name for name, a, b in marks if a > b),
    )


def said(row: Row, index: Any) -> str:
    """What a prediction (or the right answer) stands for: the candidate behind what all candidates begin and end with."""
    if isinstance(index, str):
        return index
    if isinstance(index, list):
        return " | ".join(map(str, index))
    if index is None:
        return "-"
    texts = list(row["candidates"])
    start = len(_common_beginning(texts))
    end = len(_common_beginning([text[start:][::-1] for text in texts]))
    return texts[index][start : len(texts[index]) - end] or texts[index][start:] or texts[index]


def _common_beginning(texts: Sequence[str]) -> str:
    least, most = min(texts), max(texts)
    same = next((i for i, (a, b) in enumerate(zip(least, most, strict=False)) if a != b), min(len(least), len(most)))
    return least[:same]


def as_json(found: Comparison) -> dict[str, Any]:
    """With null for what is no number."""
    d = found.difference
    numbers = {"difference": d.gain, "stderr": d.gain_se, "ci_low": d.gain_low, "ci_high": d.gain_high, "mcnemar_p": d.sign_p}
    return {
        "benchmark": found.benchmark, "first": found.first, "second": found.second, "n": found.n,
        **{name: None if math.isnan(value) else value for name, value in numbers.items()},
        "better": list(found.better), "worse": list(found.worse),
    }  # fmt: skip
