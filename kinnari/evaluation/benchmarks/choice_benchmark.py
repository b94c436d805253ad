"""Benchmarks whose questions are answered by the likeliest of several texts."""

from __future__ import annotations

import logging
import math
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from kinnari.errors import ConfigError
from kinnari.evaluation.benchmarks.benchmark import Benchmark, CountTokens
from kinnari.evaluation.benchmarks.draws import content, drawn, shuffled
from kinnari.evaluation.benchmarks.legacy import LegacySample, legacy_questions, samples_per_candidate
from kinnari.evaluation.benchmarks.prompt_form import PromptForm
from kinnari.evaluation.benchmarks.shots import Shots, chosen, fitting, solved, within
from kinnari.evaluation.question import Question

log = logging.getLogger(__name__)
SCORINGS = ("label", "sequence", "length_normalised", "pmi", "legacy")
PROMPTS = ("published", "label_last")
_BY_LABEL = ("label", "pmi")  # for which the label stands last unless somebody says otherwise


@dataclass(frozen=True, kw_only=True)
class ChoiceBenchmark(Benchmark):
    """A benchmark of choices.

    Attributes:
        default_scoring: the way of scoring where `scoring` is None.
        scoring: label | sequence | length_normalised | pmi | legacy.
        prompt: published: system R's string (sunzeyeah/RLHF) | label_last: the label at the end | None: label_last for label and pmi,
            published for the rest where there is one.
    """

    default_scoring: str = "label"
    scoring: str | None = None
    prompt: str | None = None

    metric: ClassVar[str] = "accuracy"
    in_system_r: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for value, known, option in ((self.chosen_scoring, SCORINGS, "scoring"), (self.prompt, (None, *PROMPTS), "prompt")):
            if value not in known:
                raise ConfigError(f"benchmark.{option}={value} is unknown; choose one of {', '.join(filter(None, known))}.")
        self._check_contradictions()

    @abstractmethod
    def forms(self) -> Mapping[str, PromptForm]:
        """The wordings by name: label_last, and published where there is one."""

    @abstractmethod
    def read(self, file: Path, form: PromptForm) -> list[Question]:
        """All questions of a file, in its order, with their candidates in the file's order, without header.

        Raises:
            ConfigError: a row is not in the public layout; names the file and the line.
        """

    def pool(self, file: Path, form: PromptForm) -> Iterable[Question]:
        """What shots are chosen from, one after the other; its ids mean nothing."""
        return self.read(file, form)

    @property
    def chosen_scoring(self) -> str:
        """The way of scoring."""
        return self.scoring or self.default_scoring

    @property
    def chosen_prompt(self) -> str:
        """The name of the wording."""
        if self.prompt is not None:
            return self.prompt
        return "label_last" if self.chosen_scoring in _BY_LABEL or "published" not in self.forms() else "published"

    @property
    def form(self) -> PromptForm:
        """The wording."""
        return self.forms()[self.chosen_prompt]

    @property
    def premise(self) -> str:
        """What stands before a label when its probability is taken without the question."""
        return self.form.premise

    def questions(self, count_tokens: CountTokens | None = None, max_tokens: int | None = None) -> list[Question]:
        """The questions as they are to be scored: drawn, with shots, candidates in the order to be compared in.

        Args:
            count_tokens: of a text, by the model's tokenizer; needed where `shot_tokens` or `max_tokens` limits the shots.
            max_tokens: what the model takes; a question that would be longer with all shots gets fewer, from the end.

        Raises:
            ConfigError: a file is missing or not in the public layout, or the settings cannot be met.
        """
        if self.chosen_scoring == "legacy":
            return self._legacy(count_tokens, max_tokens)
        everything = self._evaluated()
        kept = self._drawn(everything)
        shots = self.shots_by_subject(everything, count_tokens)
        prepared = []
        for question in kept:
            own = shots[question.subject if question.subject in shots else None]
            header = fitting(question, own, max_tokens, count_tokens)
            prepared.append(shuffled(replace(self.pruned(question), header=header, premise=self.premise), self.seed))
        return prepared

    def pruned(self, question: Question) -> Question:
        """The question with the candidates that are to be compared; all of them, unless a benchmark samples."""
        return question

    def shots_by_subject(self, evaluated: Sequence[Question], count_tokens: CountTokens | None) -> dict[str | None, Shots]:
        """What stands in front of the questions of a subject; None: of all others."""
        if not self.shots:
            return {None: Shots((), self.form.separator)}
        file = self.shot_file
        log.info("benchmark=%s: %d shots out of %s", self.name, self.shots, file)
        examples = chosen(self.pool(file, self.form), self.shots, self.seed, self.shots_balanced, evaluated)
        if len(examples) < self.shots:
            raise ConfigError(
                f"benchmark.shots={self.shots}: {file} has {len(examples)} labelled questions beside the evaluated ones. Ask for fewer."
            )
        return {None: within(Shots(tuple(map(solved, examples)), self.form.separator), self.shot_tokens, count_tokens, self.name)}

    def majority(self, questions: Sequence[Question]) -> float:
        """Accuracy of always preferring the class that is right most often (of a question's classes; the first by name among equals).

        Without shared classes: of a choice at random. NaN where nothing is labelled.
        """
        labelled = [question for question in questions if question.gold is not None]
        if not labelled:
            return math.nan
        classed = [(q.labels, q.gold) for q in labelled if q.labels is not None and q.gold is not None]
        if len(classed) < len(labelled):
            return sum(1 / len(question.candidates) for question in labelled) / len(labelled)
        often = Counter(labels[gold] for labels, gold in classed)
        best = [min(labels, key=lambda name: (-often[name], name)) for labels, _ in classed]
        return sum(guess == labels[gold] for guess, (labels, gold) in zip(best, classed, strict=True)) / len(classed)

    def legacy_samples(self, questions: Sequence[Question]) -> list[LegacySample]:
        """What system R scored one by one; `questions` are labelled, with the published wording, in the file's order."""
        return samples_per_candidate(questions)

    def _drawn(self, everything: list[Question]) -> list[Question]:
        """At most `limit` questions, the same ones in every wording, so that wordings can be compared on them."""
        if self.limit is None or self.limit >= len(everything):
            return everything
        asked = self.read(self.evaluated_file, self.forms()["label_last"])
        assert len(asked) == len(everything), f"{self.name}: a wording leaves rows out"
        places = drawn(range(len(asked)), self.limit, self.seed, lambda place: content(asked[place]))
        return [everything[place] for place in places]

    def _evaluated(self) -> list[Question]:
        file = self.evaluated_file
        questions = self.read(file, self.form)
        if not questions:
            raise ConfigError(f"benchmark={self.name}: {file} holds no question.")
        unlabelled = [question for question in questions if question.gold is None]
        if unlabelled and len(unlabelled) < len(questions):
            raise ConfigError(
                f"benchmark={self.name}: question {unlabelled[0].id} of {file} has no answer, and {len(questions) - len(unlabelled)} "
                "others have one. Mend or remove such rows."
            )
        return questions

    def _legacy(self, count_tokens: CountTokens | None, max_tokens: int | None) -> list[Question]:
        labelled = [question for question in self._evaluated() if question.gold is not None]
        if not labelled:
            raise ConfigError(f"benchmark.scoring=legacy: {self.evaluated_file} has no answers, by which its candidates are ordered.")
        samples = self.legacy_samples(labelled)
        return legacy_questions(samples, self.shots, self.seed, count_tokens, max_tokens, self.limit)

    def _check_contradictions(self) -> None:
        if self.chosen_prompt not in self.forms():
            raise ConfigError(
                f"benchmark.prompt=published: {self.name} is not among the tasks of the system whose prompts are meant. Leave it null."
            )
        if self.chosen_scoring == "legacy" and (not self.in_system_r or self.chosen_prompt != "published"):
            raise ConfigError(
                f"benchmark.scoring=legacy computes what system R did, and it had no benchmark={self.name} prompt={self.chosen_prompt}. "
                "Choose another scoring, or prompt=published with a task of CLUE."
            )
        if self.chosen_scoring == "label" and self.form.label_first:
            raise ConfigError(
                f"benchmark.scoring=label with benchmark.prompt={self.chosen_prompt}: in {self.form.template!r} the label stands before "
                "what it is about, so its tokens cannot depend on that. Use benchmark.prompt=label_last, or benchmark.scoring=sequence."
            )
