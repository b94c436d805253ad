"""How good a reward model is on held-out pairs: more than the share it ranks rightly."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

BINS = 10


@dataclass
class PairScores:
    """Scores of pairs, as plain numbers: P chosen answers beside P rejected ones.

    Attributes:
        record_ids: P names, which begin with their source's and a colon.
        chosen, rejected: scores.
        losses: of each pair, nats.
        chosen_tokens, rejected_tokens: lengths of the answers.
    """

    record_ids: list[str] = field(default_factory=list)
    chosen: list[float] = field(default_factory=list)
    rejected: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    chosen_tokens: list[int] = field(default_factory=list)
    rejected_tokens: list[int] = field(default_factory=list)

    def add(self, record_ids: Sequence[str], *columns: Tensor) -> None:
        """Take in some pairs; columns [P] in the order of the attributes."""
        self.record_ids += record_ids
        for known, new in zip(self._columns(), columns, strict=True):
            known += new.tolist()

    @classmethod
    def joined(cls, parts: Iterable[PairScores]) -> PairScores:
        """The pairs of several ranks, in order of their names, so that nothing depends on the number of ranks."""
        parts = list(parts)
        rows = sorted(row for part in parts for row in zip(part.record_ids, *part._columns(), strict=True))
        columns = [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(6)]
        return cls(*columns)  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.record_ids)

    @property
    def right(self) -> int:
        """Pairs whose chosen answer scores more; an equal score is wrong."""
        return sum(c > r for c, r in zip(self.chosen, self.rejected, strict=True))

    def metrics(self) -> dict[str, float]:
        """Name -> number; NaN where there is no pair.

        loss, reward_accuracy, reward_margin (mean of chosen minus rejected), reward_std (over all answers), calibration_error
        (expected, of the probability that the better scored answer is the chosen one), length_correlation (Pearson, between an
        answer's score and its tokens) and reward_accuracy/SOURCE where there are several sources.
        """
        count = len(self)
        if count == 0:
            return dict.fromkeys(("loss", "reward_accuracy", "reward_margin"), math.nan)
        scores = torch.tensor([*self.chosen, *self.rejected], dtype=torch.float64)
        lengths = torch.tensor([*self.chosen_tokens, *self.rejected_tokens], dtype=torch.float64)
        found = {
            "loss": sum(self.losses) / count,
            "reward_accuracy": self.right / count,
            "reward_margin": float((scores[:count] - scores[count:]).mean()),
            "reward_std": float(scores.std(correction=0)),
            "calibration_error": self.calibration_error(),
            "length_correlation": correlation(scores, lengths),
        }
        sources = sorted({name.split(":", 1)[0] for name in self.record_ids})
        return found | ({f"reward_accuracy/{source}": self._accuracy_of(source) for source in sources} if len(sources) > 1 else {})

    def confidences(self) -> tuple[Tensor, Tensor]:
        """Probability of the better scored answer to be the chosen one [P], and whether it is [P] (0 or 1)."""
        margins = torch.tensor(self.chosen, dtype=torch.float64) - torch.tensor(self.rejected, dtype=torch.float64)
        return margins.abs().sigmoid(), (margins > 0).long()

    def calibration_error(self) -> float:
        """Expected calibration error over 10 bins (Guo et al. 2017, arXiv 1706.04599, equation 3); 0 is perfect."""
        return sum(count * abs(confidence - right) for confidence, right, count in self.reliability()) / max(1, len(self))

    def reliability(self) -> list[tuple[float, float, int]]:
        """(mean confidence, share right, pairs) of each bin of confidence that holds any, for a picture."""
        confidence, right = self.confidences()
        bins = (confidence * BINS).long().clamp(max=BINS - 1)
        held = [bins == b for b in range(BINS)]
        return [(float(confidence[m].mean()), float(right[m].double().mean()), int(m.sum())) for m in held if m.any()]

    def _accuracy_of(self, source: str) -> float:
        rows = zip(self.record_ids, self.chosen, self.rejected, strict=True)
        mine = [c > r for name, c, r in rows if name.split(":", 1)[0] == source]
        return sum(mine) / len(mine)

    def _columns(self) -> tuple[list, ...]:
        return self.chosen, self.rejected, self.losses, self.chosen_tokens, self.rejected_tokens


def correlation(one: Tensor, other: Tensor) -> float:
    """Pearson's; 0 where either does not vary."""
    if one.numel() < 2 or float(one.std()) == 0 or float(other.std()) == 0:
        return 0.0
    return float(torch.corrcoef(torch.stack((one, other)))[0, 1])
