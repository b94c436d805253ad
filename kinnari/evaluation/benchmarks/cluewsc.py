"""CLUEWSC2020: does this pronoun mean that noun?

Rows {text, target: {span1_text, span1_index, span2_text, span2_index}, label: true | false}; span 2 is the pronoun. FewCLUE has the
same. System R replaced the pronoun in every text and compared texts of different items; here one item's two readings are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from kinnari.evaluation.benchmarks.choice_benchmark import ChoiceBenchmark
from kinnari.evaluation.benchmarks.classification import gold_class, row_ids
from kinnari.evaluation.benchmarks.legacy import LegacySample, samples_wsc
from kinnari.evaluation.benchmarks.prompt_form import PromptForm
from kinnari.evaluation.benchmarks.rows import Row, read_rows
from kinnari.evaluation.question import Candidate, Question

CLASSES = ("false", "true")
LABEL_LAST = PromptForm("{text}\n这里的“{pronoun}”指的是“{noun}”吗？是，还是不是？\n答案：{label}", {"false": "不是", "true": "是"})


@dataclass(frozen=True, kw_only=True)
class CLUEWSC(ChoiceBenchmark):
    """Chinese Winograd schemas."""

    in_system_r: ClassVar[bool] = True
    folders: ClassVar[tuple[str, ...]] = ("cluewsc", "cluewsc2020", "cluewsc2020_public")

    def forms(self) -> dict[str, PromptForm]:
        """published: the text with the noun in the pronoun's place (true) or as it is (false); label_last: a question."""
        return {"label_last": LABEL_LAST, "published": PromptForm("{before}{label}{after}", separator="\n", premise_text="")}

    def read(self, file: Path, form: PromptForm) -> list[Question]:
        """A question per row, its candidates false and true."""
        rows = read_rows(file)
        return [_question(row, name, form) for row, name in zip(rows, row_ids(rows, "idx"), strict=True)]

    def legacy_samples(self, questions: Sequence[Question]) -> list[LegacySample]:
        """One text per item."""
        return samples_wsc(questions, CLASSES.index("true"))


def _question(row: Row, name: str, form: PromptForm) -> Question:
    text, noun, pronoun, place = _parts(row)
    if form.words:
        candidates = form.candidates({"text": text, "noun": noun, "pronoun": pronoun})
    else:
        before, after = text[:place], text[place + len(pronoun) :]
        candidates = (Candidate(before, pronoun, after), Candidate(before, noun, after))
    return Question(id=name, candidates=candidates, gold=gold_class(row, row.key("label"), dict.fromkeys(CLASSES, "")), labels=CLASSES)


def _parts(row: Row) -> tuple[str, str, str, int]:
    """Text, noun, pronoun, and where the pronoun begins."""
    text, target = row.text("text"), row.get("target")
    if not isinstance(target, dict):
        raise row.wrong("column 'target' must hold {span1_text, span2_text, span2_index}")
    spans = Row(target, row.place, row.number)
    noun, pronoun, place = spans.text("span1_text"), spans.text("span2_text"), spans.get("span2_index")
    if isinstance(place, bool) or not isinstance(place, int) or place < 0 or not text.startswith(pronoun, place) or not pronoun:
        raise row.wrong(f"span2_text {pronoun!r} does not stand at span2_index {place} of the text")
    return text, noun, pronoun, place
