"""CHID: which of the idioms belongs into the blank?

Two layouts: CLUE's {candidates: ten, content: [texts with #idiomNNN# blanks]}, answers in dev_answer.json as {"#idiomNNN#": index},
several blanks in one text, each a question of its own; and FewCLUE's {id, candidates: seven, content: one text with #idiom#, answer}.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from kinnari.errors import ConfigError
from kinnari.evaluation.benchmarks.choice_benchmark import ChoiceBenchmark
from kinnari.evaluation.benchmarks.classification import row_ids
from kinnari.evaluation.benchmarks.prompt_form import PromptForm
from kinnari.evaluation.benchmarks.rows import Row, read_json, read_rows
from kinnari.evaluation.question import Candidate, Question

BLANK = re.compile(r"#idiom\d*#")
LABEL_LAST = PromptForm("{content}\n空白处____应填入的成语是：{label}")


@dataclass(frozen=True, kw_only=True)
class CHID(ChoiceBenchmark):
    """Chinese idioms."""

    default_scoring: str = "sequence"

    in_system_r: ClassVar[bool] = True

    def forms(self) -> dict[str, PromptForm]:
        """published: the idiom in its place, other blanks of the text stay marked; label_last: the idiom behind the text."""
        return {"label_last": LABEL_LAST, "published": PromptForm("{before}{label}{after}", separator="\n", premise_text="")}

    def read(self, file: Path, form: PromptForm) -> list[Question]:
        """A question per blank."""
        rows = read_rows(file)
        several = any(isinstance(row.value.get("content"), list) for row in rows)
        if not several:
            return [self._single(row, name, form) for row, name in zip(rows, row_ids(rows, "id"), strict=True)]
        answers = self._answers(file)
        questions = [question for row in rows for question in self._of_row(row, answers, form, file)]
        names = [question.id for question in questions]
        if len(set(names)) < len(names):
            double = next(name for name in names if names.count(name) > 1)
            raise ConfigError(f"{file}: the blank #{double}# occurs in several texts. Its marks must be those of the published files.")
        return questions

    def _of_row(self, row: Row, answers: Mapping[str, Any], form: PromptForm, file: Path) -> Iterator[Question]:
        idioms = row.texts("candidates")
        for text in row.texts("content"):
            for tag in dict.fromkeys(BLANK.findall(text)):
                answer = answers.get(tag)
                if answers and answer is None:
                    raise row.wrong(f"the blank {tag} has no answer in {_answer_file(file).name}")
                yield Question(id=tag.strip("#"), candidates=_filled(text, tag, idioms, form), gold=_index(row, answer, idioms))

    def _single(self, row: Row, name: str, form: PromptForm) -> Question:
        idioms, text = row.texts("candidates"), row.text("content")
        tags = BLANK.findall(text)
        if len(set(tags)) != 1:
            raise row.wrong(f"content holds {len(tags)} blanks, where one #idiom# must be")
        return Question(id=name, candidates=_filled(text, tags[0], idioms, form), gold=_index(row, row.value.get("answer"), idioms))

    def _answers(self, file: Path) -> Mapping[str, Any]:
        """Blank -> index; empty for a test file, whose answers are not public."""
        path = _answer_file(file)
        if not path.is_file():
            if "test" in file.stem:
                return {}
            raise ConfigError(
                f"benchmark={self.name}: {path} does not exist; CLUE keeps the answers to {file.name} there. Put it beside it."
            )
        answers = read_json(path)
        if not isinstance(answers, dict):
            raise ConfigError(f"{path} must hold one json object, blank -> index of the right candidate.")
        return answers


def _answer_file(file: Path) -> Path:
    return file.with_name(f"{file.stem}_answer.json")


def _index(row: Row, answer: Any, idioms: Sequence[str]) -> int | None:
    if answer is None or answer == "":
        return None
    if len(idioms) < 2 or isinstance(answer, bool) or not str(answer).isdecimal() or int(answer) >= len(idioms):
        raise row.wrong(f"answer {answer!r} is no place among {len(idioms)} candidates, of which there must be two or more")
    return int(answer)


def _filled(text: str, tag: str, idioms: Sequence[str], form: PromptForm) -> tuple[Candidate, ...]:
    if "{content}" in form.template:
        return form.candidates({"content": text.replace(tag, "____")}, idioms)
    before, _, after = text.partition(tag)
    # A blank that occurs twice is one question, and its idiom stands in both places.
    return tuple(Candidate(before, idiom, after.replace(tag, idiom)) for idiom in idioms)
