"""The loop: ask, read, filter, compare, keep; every answer in the journal before the next question.

    seeds ── style.question ── completer ── style.read ── rules ── similarity ── kept ── instructions.jsonl
                                                  └──────────┴───────────┴── rejects.jsonl, with the reason

Which seeds a request shows depends on (seed, number of the request) alone, so a run that is killed and started again asks what it
would have asked.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kinnari.bootstrap.candidates import Candidate, Question, Rejected, Style
from kinnari.bootstrap.filters import InstructionFilters
from kinnari.bootstrap.journal import Journal, append_rows, replace_rows
from kinnari.bootstrap.seeds import SeedTask
from kinnari.bootstrap.similarity import InstructionIndex
from kinnari.completion.completer import Completer, Completion, CompletionSettings
from kinnari.errors import ConfigError, RunStopped
from kinnari.text.language import language_of

FRUITLESS_ROUNDS = 3  # rounds in a row without one answer after which the generator counts as gone
SHOWN_TEXT = 2000  # characters of a rejected piece that are kept


@dataclass(frozen=True, kw_only=True)
class GrowthSettings:
    """How long it goes on.

    Args:
        num_instructions: instructions to keep.
        max_requests: requests in all, those of earlier processes included; the end even if fewer are kept.
        requests_per_round: asked together; what is under way when the process is killed is asked again.
        seed: chooses the seed tasks of each request, and samples a local model.

    Raises:
        ConfigError: a number below 1.
    """

    num_instructions: int
    max_requests: int
    requests_per_round: int = 5
    seed: int = 42

    def __post_init__(self) -> None:
        for name in ("num_instructions", "max_requests", "requests_per_round"):
            if not isinstance(vars(self)[name], int) or vars(self)[name] < 1:
                raise ConfigError(f"bootstrap.{name}={vars(self)[name]} would do nothing; it must be a whole number from 1 on.")


class Growth:
    """Instructions grown so far, and how to grow more.

    Args:
        groups: language -> seed tasks that are shown together.
        compared: every seed instruction, whatever its language: new ones are compared with all.
        folder: where `rejects.jsonl` and `instructions.jsonl` are; written anew from the journal first.
        whole_rows: what is kept has its output already, so it goes to `instructions.jsonl` at once; else `Finishing` writes that.
    """

    def __init__(
        self,
        style: Style,
        groups: Mapping[str, Sequence[SeedTask]],
        compared: Sequence[str],
        filters: InstructionFilters,
        completer: Completer,
        decoding: CompletionSettings,
        settings: GrowthSettings,
        journal: Journal,
        folder: Path,
        *,
        whole_rows: bool = True,
    ) -> None:
        self.style, self.groups, self.completer, self.decoding = style, dict(groups), completer, decoding
        self.settings, self.journal, self.folder, self.whole_rows = settings, journal, folder, whole_rows
        self.most_similar, self._broken_rule = filters.most_similar, filters.compile()
        requests = journal.of_kind("request")
        self.kept: list[dict[str, Any]] = [row for request in requests for row in request["kept"]]
        self.rejected: list[dict[str, Any]] = [row for request in requests for row in request["rejected"]]
        self.requests = len(requests)
        self.index = InstructionIndex([*compared, *(row["instruction"] for row in self.kept)])
        if whole_rows:
            replace_rows(folder / "instructions.jsonl", self.kept)
        replace_rows(folder / "rejects.jsonl", self.rejected)

    @property
    def complete(self) -> bool:
        """Whether as many are kept as were asked for."""
        return len(self.kept) >= self.settings.num_instructions

    def run(self, on_progress: Callable[[int], None] = lambda kept: None) -> None:
        """Go on until enough are kept or `max_requests` is reached; `on_progress` is told how many are kept.

        Raises:
            RunStopped: the generator failed in every request of several rounds; what was kept before is on the disk.
        """
        fruitless = 0
        on_progress(len(self.kept))
        while not self.complete and self.requests < self.settings.max_requests:
            some = range(self.requests, min(self.settings.max_requests, self.requests + self.settings.requests_per_round))
            questions = [self._question(number) for number in some]
            decoding = replace(self.decoding, seed=self.settings.seed + some[0]) if self.decoding.seed is None else self.decoding
            prompts = [question.prompt for question in questions]
            completions = self.completer.complete(prompts, decoding, lambda done: on_progress(len(self.kept)))
            failed = [completion for completion in completions if completion.finish_reason == "failed"]
            fruitless = fruitless + 1 if len(failed) == len(completions) else 0
            if fruitless == FRUITLESS_ROUNDS:
                raise generator_gone(failed[-1], len(self.kept))
            for number, question, completion in zip(some, questions, completions, strict=True):
                self._take(number, question, completion)
            on_progress(len(self.kept))

    def _question(self, number: int) -> Question:
        rng = random.Random(f"{self.settings.seed}:{number}")
        language = rng.choice(sorted(self.groups))
        machine = [row["instruction"] for row in self.kept if row["language"] == language]
        return self.style.question(self.groups[language], machine, language, rng)

    def _take(self, number: int, question: Question, completion: Completion) -> None:
        """What one answer brings, to the journal first."""
        kept: list[dict[str, Any]] = []
        rejected: list[dict[str, Any]] = []
        if completion.finish_reason == "failed":
            rejected.append(reject_row(number, Rejected("request_failed", "", completion.error)))
        found = [] if rejected else self.style.read(question, completion)
        if not found and not rejected:
            rejected.append(reject_row(number, Rejected("nothing_found", completion.text)))
        for piece in found:
            result = self._judge(piece, number, room=len(self.kept) + len(kept) < self.settings.num_instructions)
            (rejected if "reason" in result else kept).append(result)
        self.journal.append([{"kind": "request", "request_idx": number, "kept": kept, "rejected": rejected}])
        self.requests += 1
        self.kept += kept
        self.rejected += rejected
        if self.whole_rows:
            append_rows(self.folder / "instructions.jsonl", kept)
        append_rows(self.folder / "rejects.jsonl", rejected)

    def _judge(self, piece: Candidate | Rejected, number: int, room: bool) -> dict[str, Any]:
        """A row of instructions.jsonl, then compared with those that follow, or one of rejects.jsonl."""
        if isinstance(piece, Rejected):
            return reject_row(number, piece)
        candidate = Candidate(*(_writable(text) for text in (piece.instruction, piece.input, piece.output)))
        reason = self._broken_rule(candidate.instruction)
        if reason:
            return reject_row(number, Rejected(reason, candidate.instruction))
        found = self.index.resemblance(candidate.instruction)
        if found.highest > self.most_similar:
            text, score = next(iter(found.nearest.items()))
            return reject_row(number, Rejected("similar", candidate.instruction, {"to": text, "score": score}))
        if not room:
            return reject_row(number, Rejected("not_needed", candidate.instruction))
        self.index.add(candidate.instruction)
        return {
            **vars(candidate),
            "most_similar_instructions": found.nearest,
            "avg_similarity_score": found.mean,
            "request_idx": number,
            "language": language_of(candidate.instruction),
        }


def generator_gone(failed: Completion, kept: int) -> RunStopped:
    """The end of a run whose generator answers nothing."""
    return RunStopped(
        f"The generator failed in every request of {FRUITLESS_ROUNDS} rounds; last: {failed.error}. {kept} instructions are kept; once "
        "it answers again, the same command with this output_dir goes on."
    )


def reject_row(number: int, rejected: Rejected) -> dict[str, Any]:
    """A row of rejects.jsonl."""
    row = {"request_idx": number, "reason": rejected.reason, "text": _writable(rejected.text)[:SHOWN_TEXT]}
    return row if rejected.detail is None else row | {"detail": rejected.detail}


def _writable(text: str) -> str:
    """Without lone surrogates, which no file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")
