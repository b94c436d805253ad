"""What a benchmark asks: one question, and the candidate texts that a model finds more or less likely.

header (shots, the same for all candidates)  |  before              |  label  |  after
这是关于体育的文章:...                       |  这是关于            |  财经   |  的文章:股市今天...
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Candidate:
    """One text to be scored, in three parts; `before` and `after` may differ between the candidates of a question.

    Attributes:
        before: text in front of the label.
        label: what tells this candidate from the others; its tokens are what `scoring=label` counts.
        after: text behind the label; empty where the label stands last.
    """

    before: str
    label: str
    after: str = ""

    @property
    def text(self) -> str:
        """The three parts in one piece, as they are tokenised."""
        return self.before + self.label + self.after


@dataclass(frozen=True, kw_only=True)
class Question:
    """One item of a benchmark.

    Attributes:
        id: unique within the benchmark, made of the file's own ids where it has some.
        candidates: two or more, in the order in which they are shown and compared.
        gold: index of the right one; None in unlabelled test files.
        header: text in front of every candidate: the shots, with their separator; empty without shots.
        premise: what stands before the label when its probability is taken without the question, for `scoring=pmi`.
        labels: the class of each candidate where all questions share one set of classes (tnews); None where each has its own (c3).
        subject: groups questions for scores per domain (C-Eval, MMLU); None where there is one score.
    """

    id: str
    candidates: tuple[Candidate, ...]
    gold: int | None
    header: str = ""
    premise: str = ""
    labels: tuple[str, ...] | None = None
    subject: str | None = None

    def __post_init__(self) -> None:
        assert len(self.candidates) > 1, f"{self.id}: one candidate leaves nothing to choose"
        assert self.gold is None or 0 <= self.gold < len(self.candidates), f"{self.id}: gold {self.gold}"
        assert self.labels is None or len(self.labels) == len(self.candidates), self.id

    @property
    def texts(self) -> tuple[str, ...]:
        """The whole text of each candidate, as it is scored."""
        return tuple(self.header + candidate.text for candidate in self.candidates)


@dataclass(frozen=True)
class Likelihood:
    """What a model says of one candidate, in nats; float64 sums of float32 log-probabilities. None where it was not asked for.

    Attributes:
        sequence: log-probability of the whole text, of every token that has one before it.
        sequence_tokens: number of those.
        label: of the tokens that hold a character of the label.
        label_tokens: number of those.
        continuation: from the label's first token to the end.
        continuation_tokens: number of those.
        unconditional: of the label's tokens behind `Question.premise`.
        legacy: mean of log p(token at t | tokens up to and including t) over the whole text, the rule of system R
            (sunzeyeah/RLHF).
    """

    sequence: float | None
    sequence_tokens: int
    label: float | None
    label_tokens: int
    continuation: float | None
    continuation_tokens: int
    unconditional: float | None = None
    legacy: float | None = None
