"""How far people, and people and judges, say the same: raw agreement, Cohen's, Fleiss' kappa, Krippendorff's alpha."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torchmetrics.functional.classification import multiclass_cohen_kappa
from torchmetrics.functional.nominal import fleiss_kappa

from kinnari.evaluation.judging.readings import Verdict

LABELS: tuple[Verdict, ...] = ("first", "second", "tie")
Counts = NDArray[np.int64]  # [items, 3], how many said each label of an item


@dataclass(frozen=True)
class Agreement:
    """Of two that labelled the same items.

    Attributes:
        raw: share of items with the same label.
        kappa: Cohen's (1960); None where chance alone would agree always.
        table: [3][3] counts, rows those of the first labeller, in the order of LABELS.
    """

    n: int
    raw: float
    kappa: float | None
    table: list[list[int]]


def agreement(one: Sequence[Verdict], other: Sequence[Verdict]) -> Agreement | None:
    """None without items."""
    if not one:
        return None
    a, b = (torch.tensor([LABELS.index(label) for label in labels]) for labels in (one, other))
    table = torch.zeros(3, 3, dtype=torch.int64).index_put_((a, b), torch.ones(len(a), dtype=torch.int64), accumulate=True)
    kappa = float(multiclass_cohen_kappa(a, b, num_classes=3))
    # torchmetrics 1.8 gives 0 where both gave one label throughout, and chance explains everything.
    constant = bool(((table.sum(0) * table.sum(1)).sum() == len(a) ** 2).item())
    known = math.isfinite(kappa) and not constant
    return Agreement(len(a), float((a == b).float().mean()), kappa if known else None, table.tolist())


def fleiss(counts: Counts) -> float | None:
    """Fleiss' kappa (1971), of items that as many people labelled, two or more; None where they are not, or chance explains all.

    torchmetrics adds 1e-5 to its denominator, so the last digits are not to be trusted.
    """
    raters = counts.sum(1)
    if not len(counts) or raters[0] < 2 or (raters != raters[0]).any() or ((counts.sum(0) > 0).sum() < 2):
        return None
    return float(fleiss_kappa(torch.from_numpy(counts)))


def krippendorff(counts: Counts) -> float | None:
    """Krippendorff's alpha for nominal labels (Content Analysis, 2004): any number of people to an item, those with one are passed over.

    1 - observed / expected disagreement, of pairs of labels within an item and of pairs from anywhere. None where nobody ever differed.
    """
    paired = counts[counts.sum(1) >= 2].astype(np.float64)
    per_item, per_label = paired.sum(1), paired.sum(0)
    total = per_item.sum()
    expected = total**2 - (per_label**2).sum()
    if not expected:
        return None
    observed = ((per_item**2 - (paired**2).sum(1)) / (per_item - 1)).sum()
    return float(1 - (total - 1) * observed / expected)
