"""C3: questions about a dialogue (d) or a text (m), two to four choices each.

A json list of [[lines], [{question, choice: [..], answer}], id]; nlpdata/c3 and CLUE name the files c3-d-dev.json or d-dev.json.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from kinnari.errors import ConfigError
from kinnari.evaluation.benchmarks.choice_benchmark import ChoiceBenchmark
from kinnari.evaluation.benchmarks.legacy import LegacySample, samples_c3
from kinnari.evaluation.benchmarks.prompt_form import PromptForm
from kinnari.evaluation.benchmarks.rows import Row, read_json
from kinnari.evaluation.question import Question

PARTS = ("d", "m")
_PART = re.compile(r"((?:c3[-_])?)[dm]([-_].+)")
PUBLISHED = PromptForm("问: {question}\n答:{label}\n该答案来自对话: {context}", separator="\n")
LABEL_LAST = PromptForm("{lines}\n问：{question}\n答：{label}")


@dataclass(frozen=True, kw_only=True)
class C3(ChoiceBenchmark):
    """Reading comprehension with free-form choices."""

    default_scoring: str = "pmi"

    in_system_r: ClassVar[bool] = True

    def forms(self) -> dict[str, PromptForm]:
        """Both wordings."""
        return {"label_last": LABEL_LAST, "published": PUBLISHED}

    def file_names(self, split: str) -> tuple[str, ...]:
        """Names of either part; `parts_of` adds the other."""
        named = (form for part in PARTS for form in (f"c3-{part}-{split}", f"{part}-{split}", f"c3_{part}_{split}"))
        return tuple(f"{form}.json" for form in named) + super().file_names(split)

    def read(self, file: Path, form: PromptForm) -> list[Question]:
        """A question per question of a text, of the dialogues and then of the texts where both files are there."""
        names: Counter[str] = Counter()
        questions = []
        for question in (question for part in self.parts_of(file) for question in _questions(part, form)):
            names[question.id] += 1
            again = names[question.id]
            questions.append(question if again == 1 else replace(question, id=f"{question.id} ({again})"))
        return questions

    def parts_of(self, file: Path) -> list[Path]:
        """The file, and its counterpart of the other part where nobody named the file."""
        found = _PART.fullmatch(file.stem)
        named = [self.folder / name for name in (self.file, self.train_file) if name is not None]
        if found is None or file in named:
            return [file]
        return [part for name in PARTS if (part := file.with_name(f"{found[1]}{name}{found[2]}{file.suffix}")).is_file()]

    def legacy_samples(self, questions: Sequence[Question]) -> list[LegacySample]:
        """Real choices in groups of four."""
        return samples_c3(questions)


def _questions(file: Path, form: PromptForm) -> Iterator[Question]:
    items = read_json(file)
    if not isinstance(items, list):
        raise ConfigError(f"{file} must hold a json list of [[lines], [questions], id], as C3 is published.")
    for number, item in enumerate(items, 1):
        row = Row({}, f"{file} item {number}", number)
        if not (isinstance(item, list) and len(item) >= 2 and _texts(item[0]) and isinstance(item[1], list)):
            raise row.wrong("the item must be [[lines], [{question, choice, answer}], id]")
        name = item[2] if len(item) > 2 and isinstance(item[2], str) else f"{file.stem}:{number}"
        for place, asked in enumerate(item[1], 1):
            if not isinstance(asked, dict):
                raise row.wrong(f"question {place} must be {{question, choice, answer}}")
            yield _question(Row(asked, f"{file} item {number} question {place}", number), item[0], f"{name}.{place}", form)


def _question(row: Row, lines: Sequence[str], name: str, form: PromptForm) -> Question:
    choices, answer = row.texts("choice"), row.key("answer")
    if len(choices) < 2:
        raise row.wrong(f"there are {len(choices)} choices, where two or more must be")
    if answer is not None and answer not in choices:
        raise row.wrong(f"the answer {answer!r} is none of the choices {', '.join(choices)}")
    fields = {"question": row.text("question"), "context": "".join(lines), "lines": "\n".join(lines)}
    return Question(id=name, candidates=form.candidates(fields, choices), gold=None if answer is None else choices.index(answer))


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(line, str) for line in value)
