"""What many annotators said: a table for each of them, votes per item, the majority, and how far they agree.

votes A B tie     code                 as in WangChanGLM's summary: 1 = A, 2 = B, 3 = tie
      4 0 6       3                    most votes
      2 1 2       1                    a side as often as a tie: the side
      2 2 0       3                    both sides as often: a tie
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from kinnari.errors import ConfigError
from kinnari.evaluation.judging.agreement import LABELS, Counts, agreement, fleiss, krippendorff
from kinnari.evaluation.judging.questionnaire import KEY, Layout, layout_of, once, read_label
from kinnari.evaluation.judging.readings import Reading, Verdict

CODES: dict[Verdict, int] = {"first": 1, "second": 2, "tie": 3}


@dataclass(frozen=True)
class Answers:
    """One annotator's labels by id; items that were left empty are missing."""

    name: str
    labels: Mapping[str, Verdict]


@dataclass(frozen=True)
class Votes:
    """Counts of first, second and tie by id."""

    ids: tuple[str, ...]
    counts: Counts

    def majority(self) -> dict[str, Verdict]:
        """The verdict of each item that has a vote."""
        return {name: majority(*row) for name, row in zip(self.ids, self.counts.tolist(), strict=True) if sum(row)}


def majority(first: int, second: int, tie: int) -> Verdict:
    """Of one item; the rule that gives the codes of WangChanGLM's published summary, all 166 of them."""
    if first > second and first >= tie:
        return "first"
    return "second" if second > first and second >= tie else "tie"


def read_answers(name: str, rows: Sequence[Mapping[str, Any]], key: Mapping[str, bool] | None) -> Answers:
    """Of one filled-in sheet.

    Args:
        key: id -> whether the sides were exchanged; None leaves A as the first.

    Raises:
        ConfigError: no questionnaire, a cell that is no choice, an id twice, or one that the key does not have.
    """
    layout = layout_of(rows[0], name)
    once([str(row[layout.id]) for row in rows])
    labels: dict[str, Verdict] = {}
    for row in rows:
        item = str(row[layout.id])
        verdict = read_label(row[layout.choice], f"{name}, {layout.id} {item}")
        if verdict is not None:
            labels[item] = _unblinded(verdict, key, item, name)
    return Answers(name, labels)


def read_votes(name: str, rows: Sequence[Mapping[str, Any]], key: Mapping[str, bool] | None) -> Votes:
    """Of a summary that holds counts.

    Raises:
        ConfigError: a count that is no number, an id twice, or one that the key does not have.
    """
    layout = layout_of(rows[0], name, summary=True)
    ids = [str(row[layout.id]) for row in rows]
    once(ids)
    counts = []
    for item, row in zip(ids, rows, strict=True):
        cells = [str(row[column]).strip() for column in layout.counts[:3]]
        if not all(cell.isdecimal() for cell in cells):
            raise ConfigError(f"{name}, {layout.id} {item}: {', '.join(map(repr, cells))} are not three numbers of votes.")
        a, b, tie = map(int, cells)
        counts.append([b, a, tie] if key is not None and _swapped(key, item, name) else [a, b, tie])
    return Votes(tuple(ids), np.array(counts, dtype=np.int64))


def read_key(rows: Sequence[Mapping[str, Any]], file: str) -> tuple[tuple[str, str], dict[str, bool]]:
    """The first and the second system, and id -> whether the second stood at A.

    Raises:
        ConfigError: no key, or one of other than two systems.
    """
    if any(column not in rows[0] for column in KEY):
        raise ConfigError(f"{file} is no key of a questionnaire: its columns must be {', '.join(KEY)}, and they are {', '.join(rows[0])}.")
    names = sorted({str(row["A"]) for row in rows} | {str(row["B"]) for row in rows})
    first = str(rows[0]["first"])
    if len(names) != 2 or any({str(row["A"]), str(row["B"])} != set(names) or row["first"] != first for row in rows) or first not in names:
        raise ConfigError(
            f"{file} names the systems {', '.join(names)}; in every row A and B must be the same two, and `first` one of them."
        )
    once([str(row["id"]) for row in rows])
    second = names[1 - names.index(first)]
    return (first, second), {str(row["id"]): str(row["A"]) == second for row in rows}


def votes_of(answers: Sequence[Answers]) -> Votes:
    """Counts over annotators, of every item that anybody labelled, in the order of the sheets."""
    ids = list(dict.fromkeys(item for one in answers for item in one.labels))
    counts = np.zeros((len(ids), 3), dtype=np.int64)
    place = {item: i for i, item in enumerate(ids)}
    for one in answers:
        for item, verdict in one.labels.items():
            counts[place[item], LABELS.index(verdict)] += 1
    return Votes(tuple(ids), counts)


def summary_row(layout: Layout, item: str, texts: tuple[str, str, str], counts: Sequence[int]) -> dict[str, Any]:
    """One item as in WangChanGLM's summary: sheet, counts, sum, code; texts are prompt and both answers."""
    verdict = majority(*counts)
    row = dict(zip(layout.columns, (item, *texts, layout.label(verdict)), strict=True))
    return row | dict(zip(layout.counts, (*counts, sum(counts), CODES[verdict]), strict=True))


def shares(counts: Sequence[int]) -> dict[str, float | None]:
    """Of first, second and tie."""
    total = sum(counts)
    return {label: count / total if total else None for label, count in zip(LABELS, counts, strict=True)}


def annotator_rows(answers: Sequence[Answers]) -> list[dict[str, Any]]:
    """A row for each: how many items, the shares, and Cohen's kappa with the majority of the others."""
    rows: list[dict[str, Any]] = []
    for one in answers:
        others = votes_of([other for other in answers if other is not one]).majority()
        common = [item for item in one.labels if item in others]
        found = agreement([one.labels[item] for item in common], [others[item] for item in common])
        counts = [list(one.labels.values()).count(label) for label in LABELS]
        with_others = {"agreement_with_others": found.raw if found else None, "kappa_with_others": found.kappa if found else None}
        said: dict[str, int] = dict(zip(LABELS, counts, strict=True))
        rows.append({"annotator": one.name, "n": sum(counts)} | said | with_others)
    return rows


def agreement_of(answers: Sequence[Answers], votes: Votes) -> dict[str, Any]:
    """Fleiss, Krippendorff, and Cohen's kappa of every pair of annotators with items in common."""
    pairs: list[dict[str, Any]] = []
    kappas: list[float] = []
    for one, other in combinations(answers, 2):
        common = [item for item in one.labels if item in other.labels]
        found = agreement([one.labels[item] for item in common], [other.labels[item] for item in common])
        if found is not None:
            pairs.append({"annotators": [one.name, other.name], "n": found.n, "agreement": found.raw, "kappa": found.kappa})
            kappas += [] if found.kappa is None else [found.kappa]
    return {
        "fleiss_kappa": fleiss(votes.counts),
        "krippendorff_alpha": krippendorff(votes.counts),
        "mean_cohen_kappa": sum(kappas) / len(kappas) if kappas else None,
        "pairs": pairs,
    }


def _unblinded(verdict: Verdict, key: Mapping[str, bool] | None, item: str, file: str) -> Verdict:
    if key is None or not _swapped(key, item, file):
        return verdict
    turned = Reading(verdict).swapped().verdict
    assert turned is not None
    return turned


def _swapped(key: Mapping[str, bool], item: str, file: str) -> bool:
    if item not in key:
        raise ConfigError(f"{file} has the id {item!r}, which is not in the key. Give the key that was written with this questionnaire.")
    return key[item]
