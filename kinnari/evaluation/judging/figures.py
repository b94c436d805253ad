"""What the verdicts over many pairs add up to, overall and in each language. A win is the second column's: it is compared with the first.

win + tie + loss = 1       win_rate = win + tie / 2        ratio = mean score of the second / of the first
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kinnari.evaluation.judging import statistics
from kinnari.evaluation.judging.agreement import agreement
from kinnari.evaluation.judging.readings import Scores, Verdict
from kinnari.evaluation.judging.verdicts import Judgement
from kinnari.evaluation.paired import sign_test

Figures = dict[str, float | int | None]
_OUTCOMES = {"second": 1.0, "tie": 0.5, "first": 0.0}


@dataclass(frozen=True, kw_only=True)
class JudgedPair:
    """One row of a comparison.

    Attributes:
        judgement: None where nobody was asked: equal answers.
        verdict: None where no reply could be read; such rows are left out of shares and means, and counted.
        lengths: characters of the two answers.
        human: what people said of it.
    """

    language: str
    judgement: Judgement | None
    verdict: Verdict | None
    scores: Scores | None
    lengths: tuple[int, int]
    human: Verdict | None = None


def by_language(pairs: Sequence[JudgedPair], seed: int) -> dict[str, Figures]:
    """`` (all) and each language -> its figures."""
    languages = sorted({pair.language for pair in pairs} - {""})
    return {"": figures(pairs, seed)} | {name: figures([p for p in pairs if p.language == name], seed) for name in languages}


def named(groups: Mapping[str, Figures], prefix: str = "judge") -> Figures:
    """judge/win, judge/th/win, ..."""
    return {
        f"{prefix}/{group}/{key}" if group else f"{prefix}/{key}": value for group, some in groups.items() for key, value in some.items()
    }


def figures(pairs: Sequence[JudgedPair], seed: int) -> Figures:
    """Of one group; values that nothing was there to compute from are None."""
    read = [pair for pair in pairs if pair.verdict is not None]
    return {
        "n": len(read),
        "unread_rows": len(pairs) - len(read),
        "unread_replies": sum(p.judgement.unread for p in pairs if p.judgement),
        **_shares(read, seed),
        **_length_controlled(read, seed),
        **_scores(read, seed),
        **_places(read),
        **_human(read),
    }


def _shares(read: Sequence[JudgedPair], seed: int) -> Figures:
    names: dict[str, Verdict] = {"win": "second", "tie": "tie", "loss": "first"}
    if not read:
        return dict.fromkeys([f"{n}{end}" for n in (*names, "win_rate") for end in ("", "_low", "_high")], None) | {"sign_test_p": None}
    hits = np.array([[pair.verdict == label for label in names.values()] for pair in read], dtype=np.float64)
    values = np.column_stack([hits, hits[:, 0] + hits[:, 1] / 2])
    found: Figures = {}
    samples = statistics.resampled_means(values, seed)
    for column, name in enumerate((*names, "win_rate")):
        found[name] = float(values[:, column].mean())
        found[f"{name}_low"], found[f"{name}_high"] = statistics.interval(samples[:, column])
    wins, _, losses = hits.sum(0).astype(int).tolist()
    return found | {"sign_test_p": sign_test(wins, losses) if wins + losses else None}


def _length_controlled(read: Sequence[JudgedPair], seed: int) -> Figures:
    keys = ("length_controlled_win_rate", "length_controlled_win_rate_low", "length_controlled_win_rate_high")
    if not read:
        return dict.fromkeys(keys, None)
    outcomes = [_OUTCOMES[pair.verdict] for pair in read if pair.verdict]
    differences = [float(pair.lengths[1] - pair.lengths[0]) for pair in read]
    rate = statistics.length_controlled(outcomes, differences)
    return dict(zip(keys, (rate, *statistics.length_controlled_interval(outcomes, differences, seed)), strict=True))


def _scores(read: Sequence[JudgedPair], seed: int) -> Figures:
    scores = np.array([pair.scores for pair in read if pair.scores is not None], dtype=np.float64)
    if not len(scores):
        return {}
    samples = statistics.resampled_means(scores, seed)
    first, second = scores.mean(0).tolist()
    found: Figures = {"score_n": len(scores), "score_first": first, "score_second": second}
    for column, name in enumerate(("score_first", "score_second")):
        found[f"{name}_low"], found[f"{name}_high"] = statistics.interval(samples[:, column])
    if first == 0 or (samples[:, 0] == 0).any():
        return found | {"ratio": second / first if first else None, "ratio_low": None, "ratio_high": None}
    low, high = statistics.interval(samples[:, 1] / samples[:, 0])
    return found | {"ratio": second / first, "ratio_low": low, "ratio_high": high}


def _places(read: Sequence[JudgedPair]) -> Figures:
    """Whether the judge goes by the place: pairs in which the same place won twice, and replies that prefer the first place."""
    judged = [pair.judgement for pair in read if pair.judgement is not None]
    both = [(j.agrees, j.prefers_a_place) for j in judged if j.agrees is not None]
    first, either = (sum(counts) for counts in zip(*(j.first_place_wins for j in judged), strict=True)) if judged else (0, 0)
    return {
        "consistency": sum(bool(agrees) for agrees, _ in both) / len(both) if both else None,
        "position_bias": sum(bool(biased) for _, biased in both) / len(both) if both else None,
        "first_place_share": first / either if either else None,
    }


def _human(read: Sequence[JudgedPair]) -> Figures:
    labelled = [(pair.human, pair.verdict) for pair in read if pair.human is not None and pair.verdict is not None]
    found = agreement([human for human, _ in labelled], [verdict for _, verdict in labelled])
    return {} if found is None else {"human_n": found.n, "human_agreement": found.raw, "human_kappa": found.kappa}
