"""TNEWS and IFLYTEK: what is a headline, or the description of an app, about?

TNEWS rows {label: 100..116, sentence}, IFLYTEK rows {label: 0..118, sentence}. CLUEbenchmark/CLUE, FewCLUE. As system R published
them a question has four candidates, the right one and three sampled ones; `candidates=all` has all classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from kinnari.errors import ConfigError
from kinnari.evaluation.benchmarks.classification import Classification
from kinnari.evaluation.benchmarks.draws import with_some_candidates
from kinnari.evaluation.benchmarks.iflytek_labels import IFLYTEK_WORDS
from kinnari.evaluation.benchmarks.legacy import LegacySample, samples_true_first
from kinnari.evaluation.benchmarks.prompt_form import PromptForm
from kinnari.evaluation.benchmarks.rows import Row
from kinnari.evaluation.question import Question

SAMPLED = 4
TNEWS_WORDS = {
    "100": "故事", "101": "文化", "102": "娱乐", "103": "体育", "104": "财经", "106": "房产", "107": "汽车", "108": "教育",
    "109": "科技", "110": "军事", "112": "旅游", "113": "世界", "114": "股票", "115": "农业", "116": "游戏",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Topics(Classification):
    """Many classes.

    Attributes:
        candidates: sampled: the right class and three others, drawn for each question from the seed | all.
    """

    candidates: str = "sampled"

    in_system_r: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.candidates not in ("sampled", "all"):
            raise ConfigError(f"benchmark.candidates={self.candidates} is unknown; choose sampled or all.")

    def fields(self, row: Row) -> dict[str, str]:
        """The text."""
        return {"sentence": row.text("sentence")}

    def pruned(self, question: Question) -> Question:
        """With four candidates, or all."""
        if self.candidates == "all":
            return question
        if question.gold is None:
            raise ConfigError(
                f"benchmark.candidates=sampled: {self.evaluated_file} has no answers, and the right class must be among the sampled ones. "
                "Use benchmark.candidates=all."
            )
        return with_some_candidates(question, SAMPLED, self.seed)

    def legacy_samples(self, questions: Sequence[Question]) -> list[LegacySample]:
        """The right class first."""
        return samples_true_first(questions, SAMPLED, self.seed)


@dataclass(frozen=True, kw_only=True)
class TNEWS(Topics):
    """Headlines, 15 classes."""

    def forms(self) -> dict[str, PromptForm]:
        """Both wordings."""
        return {
            "label_last": PromptForm("文章：{sentence}\n这篇文章是关于{label}", TNEWS_WORDS),
            "published": PromptForm("这是关于{label}的文章:{sentence}", TNEWS_WORDS, separator="\n"),
        }


@dataclass(frozen=True, kw_only=True)
class IFLYTEK(Topics):
    """Descriptions of apps, 119 classes."""

    def forms(self) -> dict[str, PromptForm]:
        """Both wordings."""
        return {
            "label_last": PromptForm("应用程序：{sentence}\n这个应用程序是关于{label}", IFLYTEK_WORDS),
            "published": PromptForm("这是关于{label}的应用程序:{sentence}", IFLYTEK_WORDS, separator="\n"),
        }

    def label_of(self, row: Row) -> str | None:
        """The class; its word, which most rows have as well, must be that of the class."""
        label, word = row.key("label"), row.key("label_des")
        if label is not None and word is not None and IFLYTEK_WORDS.get(label, word) != word:
            raise row.wrong(f"label {label} is {IFLYTEK_WORDS[label]!r}, and label_des says {word!r}")
        return label
