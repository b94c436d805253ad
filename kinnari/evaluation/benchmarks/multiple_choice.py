"""Multiple-choice questions of one's own, described by a yaml file: which columns hold what, and how a question is worded.

Three kinds of choices:
  words: {entailment: 예, neutral: 아마도, contradiction: 아니요}  classes that all questions share; `answer` holds a class
  choices: [choice1, choice2]        columns, one per choice
  choices: options                   one column, a list, or a text that `choice_pattern` parts:  (1) rice (2) tea
`listed: letters | numbers` names the choices A, B, ... or 1, 2, ...; the label is then the name, and {choices} in the prompt their list.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kinnari.errors import ConfigError
from kinnari.evaluation.benchmarks.choice_benchmark import ChoiceBenchmark
from kinnari.evaluation.benchmarks.classification import gold_class, row_ids
from kinnari.evaluation.benchmarks.prompt_form import PromptForm
from kinnari.evaluation.benchmarks.rows import Row, read_rows
from kinnari.evaluation.question import Question

ANSWERS = ("index", "number", "letter", "text")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, kw_only=True)
class MultipleChoice(ChoiceBenchmark):
    """Questions out of json, jsonl, csv or tsv.

    Attributes:
        template: the wording, with {label} once, {column} for any column, {choices} for the list of choices.
        answer: column of the right answer; empty or missing in an unlabelled file.
        answer_is: index (from 0) | number (from 1) | letter | text (of the choice). Not looked at with `words`.
        answer_pattern: regular expression whose first group is the answer within its column: '\\((\\d)\\)' for "(3) rice".
        choices: a column, or a column per choice; missing columns and empty texts are no choices. None with `words`.
        choice_pattern: regular expression of what stands before each choice, where one column holds a text.
        words: class -> word.
        listed: letters | numbers | None.
        only: column -> value, of the rows that are questions; others are passed over.
        skipped: answers of rows that are passed over, such as - where annotators did not agree.
        replacements: column -> {value: text}, for what a prompt should say in place of a column's values.
        id: column; rows without ids of their own are numbered.
        subject: column by which scores are grouped.
        separator: between shots.
        premise_text: what stands before a label for scoring=pmi; None takes the wording right before {label}.
        file_pattern: how the public files are called, with {split}; beside the names that all benchmarks' files may have.
    """

    template: str
    answer: str
    answer_is: str = "index"
    answer_pattern: str | None = None
    choices: str | Sequence[str] | None = None
    choice_pattern: str | None = None
    words: Mapping[str, str] = field(default_factory=dict)
    listed: str | None = None
    only: Mapping[str, str] = field(default_factory=dict)
    skipped: Sequence[str] = ()
    replacements: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    id: str = "id"
    subject: str | None = None
    separator: str = "\n\n"
    premise_text: str | None = None
    file_pattern: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        here = f"benchmark.{self.name}"
        if self.answer_is not in ANSWERS:
            raise ConfigError(f"{here}.answer_is={self.answer_is} is unknown; choose one of {', '.join(ANSWERS)}.")
        if self.listed not in (None, "letters", "numbers"):
            raise ConfigError(f"{here}.listed={self.listed} is unknown; choose letters, numbers or null.")
        if (self.choices is None) == (not self.words):
            raise ConfigError(f"{here} needs either `choices` (a column, or a list of columns) or `words` (class -> word), and not both.")
        for option, pattern in (("answer_pattern", self.answer_pattern), ("choice_pattern", self.choice_pattern)):
            try:
                re.compile(pattern or "")
            except re.error as problem:
                raise ConfigError(f"{here}.{option}={pattern} is no regular expression: {problem}.") from None

    def forms(self) -> dict[str, PromptForm]:
        """The one wording."""
        return {"label_last": PromptForm(self.template, dict(self.words), self.separator, self.premise_text)}

    def file_names(self, split: str) -> tuple[str, ...]:
        """As of any benchmark, and before them `file_pattern`'s."""
        own = () if self.file_pattern is None else (self.file_pattern.replace("{split}", split),)
        return own + super().file_names(split) + tuple(f"{self.name}_{split}{ending}" for ending in (".csv", ".tsv"))

    def read(self, file: Path, form: PromptForm) -> list[Question]:
        """A question per row that `only` does not pass over."""
        rows = [row for row in read_rows(file) if self._asks(row)]
        if not rows:
            raise ConfigError(f"benchmark={self.name}: no row of {file} has {dict(self.only) or 'anything in it'}.")
        return [self._question(row, name, form) for row, name in zip(rows, row_ids(rows, self.id), strict=True)]

    def _asks(self, row: Row) -> bool:
        meant = all(row.key(column) == _as_key(value) for column, value in self.only.items())
        return meant and row.key(self.answer) not in self.skipped

    def _question(self, row: Row, name: str, form: PromptForm) -> Question:
        subject = None if self.subject is None else row.text(self.subject)
        answer = self._answer(row)
        if self.words:
            gold = gold_class(row, answer, form.words)
            return Question(id=name, candidates=form.candidates(self._fields(row)), gold=gold, labels=tuple(form.words), subject=subject)
        choices = self._choices(row)
        if len(choices) < 2:
            raise row.wrong(f"there are {len(choices)} choices, where two or more must be")
        names = self._names(len(choices))
        fields = self._fields(row) | {"choices": "\n".join(f"{n}. {choice}" for n, choice in zip(names, choices, strict=True))}
        return Question(
            id=name,
            candidates=form.candidates(fields, names if self.listed else choices),
            gold=None if answer is None else self._place(row, answer, choices),
            labels=names if self.listed else None,
            subject=subject,
        )

    def _fields(self, row: Row) -> dict[str, str]:
        fields = {}
        for column, value in row.value.items():
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            known = self.replacements.get(column)
            if known is not None and text not in known:
                raise row.wrong(f"column {column!r} holds {text!r}, for which benchmark.{self.name}.replacements has no text")
            fields[str(column)] = text if known is None else known[text]
        return fields

    def _choices(self, row: Row) -> tuple[str, ...]:
        assert self.choices is not None
        if not isinstance(self.choices, str):
            # A gap would move the places that answers name.
            texts = [row.text(column).strip() if row.key(column) is not None else "" for column in self.choices]
            while texts and not texts[-1]:
                texts.pop()
            if "" in texts:
                raise row.wrong(f"column {self.choices[texts.index('')]!r} is empty, and a later choice is not")
            return tuple(texts)
        if self.choice_pattern is None:
            return row.texts(self.choices)
        # The first part is what stands before the first choice.
        marks = re.compile(self.choice_pattern)
        text = row.text(self.choices)
        starts = [match.span() for match in marks.finditer(text)]
        ends = [start for start, _ in starts[1:]] + [len(text)]
        return tuple(text[begin:end].strip() for (_, begin), end in zip(starts, ends, strict=True))

    def _answer(self, row: Row) -> str | None:
        text = row.key(self.answer)
        if text is None or self.answer_pattern is None:
            return text
        match = re.search(self.answer_pattern, text)
        if match is None or not match.groups():
            raise row.wrong(f"column {self.answer!r} holds {text!r}, in which answer_pattern finds no group")
        return match[1]

    def _place(self, row: Row, answer: str, choices: Sequence[str]) -> int:
        answer = answer.strip()
        if self.answer_is == "text":
            place = next((place for place, choice in enumerate(choices) if choice.strip() == answer), -1)
        elif self.answer_is == "letter":
            place = LETTERS.find(answer.upper()) if len(answer) == 1 else -1
        else:
            place = int(answer) - (self.answer_is == "number") if answer.isdecimal() else -1
        if not 0 <= place < len(choices):
            raise row.wrong(f"the answer {answer!r}, read as {self.answer_is}, is none of the {len(choices)} choices")
        return place

    def _names(self, number: int) -> tuple[str, ...]:
        return tuple(LETTERS[:number]) if self.listed == "letters" else tuple(str(place) for place in range(1, number + 1))


def _as_key(value: object) -> str:
    """As `Row.key` reads a json value: yaml's `true` is meant where a row has true."""
    return str(value).lower() if isinstance(value, bool) else str(value)
