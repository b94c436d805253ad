"""From the replies about one pair to its verdict. Where both orders are asked, a win needs both: one alone may be a matter of the place.

first A, then B      A   A   B   A     tie
first B, then A      A   B   A   tie   tie      what the judge says of this order
verdict              tie A   B   tie   tie
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kinnari.evaluation.judging.readings import Reading, Scores, Verdict


@dataclass(frozen=True)
class Judgement:
    """What came of asking about one pair.

    Attributes:
        verdict: a tie as well where the readings disagree or none was read.
        replies: as they came, or why they did not: to the given order, then to the other one.
        readings: of these, in terms of the given order.
        unread: replies that could not be read, or did not come.
    """

    verdict: Verdict
    replies: tuple[str, ...]
    readings: tuple[Reading, ...]
    unread: int

    @property
    def is_read(self) -> bool:
        """Whether any reply was."""
        return self.unread < len(self.replies)

    @property
    def scores(self) -> Scores | None:
        """Mean of each answer over the orders; None where no scores were read."""
        found = [reading.scores for reading in self.readings if reading.scores is not None]
        return (sum(a for a, _ in found) / len(found), sum(b for _, b in found) / len(found)) if found else None

    @property
    def agrees(self) -> bool | None:
        """Whether both orders say the same; None where not both were read."""
        return self.readings[0].verdict == self.readings[1].verdict if self._both_read else None

    @property
    def prefers_a_place(self) -> bool | None:
        """Whether the answer in the same place won in both orders; None where not both were read."""
        said = {reading.verdict for reading in self.readings}
        return said == {"first", "second"} if self._both_read else None

    @property
    def first_place_wins(self) -> tuple[int, int]:
        """Replies that prefer what stands first, and that prefer either answer."""
        places = [reading.verdict if i == 0 else reading.swapped().verdict for i, reading in enumerate(self.readings)]
        return places.count("first"), places.count("first") + places.count("second")

    @property
    def _both_read(self) -> bool:
        return len(self.replies) == 2 and self.unread == 0


def judgement(replies: Sequence[str], readings: Sequence[Reading]) -> Judgement:
    """Of one reply, or of those to both orders; where one of two was not read the other decides.

    Zheng et al. 2023, "Judging LLM-as-a-Judge", arXiv:2306.05685, section 3.4: a win only if it is one in both orders.

    Args:
        readings: each in terms of the order it was asked in: A of the second one is the second answer.
    """
    turned = tuple(reading if i == 0 else reading.swapped() for i, reading in enumerate(readings))
    said = {reading.verdict for reading in turned if reading.verdict is not None}
    verdict: Verdict = said.pop() if len(said) == 1 else "tie"
    return Judgement(verdict, tuple(replies), turned, sum(reading.verdict is None for reading in turned))
