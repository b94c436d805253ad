"""One wording of a benchmark: where the question's fields and the label stand.

PromptForm("这是关于{label}的文章:{sentence}", {"103": "体育", "104": "财经"})
.candidates({"sentence": "股市今天..."})  ->  这是关于 | 体育 | 的文章:股市今天...
                                             这是关于 | 财经 | 的文章:股市今天...
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from kinnari.errors import ConfigError
from kinnari.evaluation.question import Candidate

_PLACEHOLDER = re.compile(r"\{(\w+)\}")  # no str.format: a template from a yaml file must not reach into objects
LABEL = "{label}"


@dataclass(frozen=True)
class PromptForm:
    """A template with `{label}` once and `{column}` for the question's fields.

    Attributes:
        template: the text; a brace that names no placeholder stays as it is.
        words: class -> word that stands for it, where all questions share the classes; empty where each has its own choices.
        separator: what joins shots, and the last of them with the question.
        premise_text: what stands before the label where the question is left out (scoring=pmi); None takes `premise`'s rule.
    """

    template: str
    words: Mapping[str, str] = field(default_factory=dict)
    separator: str = "\n\n"
    premise_text: str | None = None

    def __post_init__(self) -> None:
        if self.template.count(LABEL) != 1:
            raise ConfigError(f"the prompt {self.template!r} must hold {LABEL} exactly once: there the candidates differ.")

    @cached_property
    def _halves(self) -> tuple[str, str]:
        before, _, after = self.template.partition(LABEL)
        return before, after

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the placeholders beside `label`, in their order."""
        return tuple(name for name in _PLACEHOLDER.findall(self.template) if name != "label")

    @property
    def label_first(self) -> bool:
        """Whether something of the question stands behind the label, so that the label's own tokens cannot know it."""
        return _PLACEHOLDER.search(self._halves[1]) is not None

    @property
    def premise(self) -> str:
        """The wording right before the label, back to the last field or line: 这是关于, 答案：."""
        if self.premise_text is not None:
            return self.premise_text
        return _PLACEHOLDER.split(self._halves[0])[-1].rpartition("\n")[2]

    def candidates(self, fields: Mapping[str, str], labels: Sequence[str] | None = None) -> tuple[Candidate, ...]:
        """One candidate per label, `labels` or the words of all classes in their order.

        Raises:
            ConfigError: the template names a field that `fields` lacks.
        """
        before, after = (self._filled(parts, fields) for parts in self._parts)
        return tuple(Candidate(before, label, after) for label in (self.words.values() if labels is None else labels))

    @cached_property
    def _parts(self) -> tuple[list[str], list[str]]:
        """Of each half: text, field, text, field, ..., text."""
        before, after = self._halves
        return _PLACEHOLDER.split(before), _PLACEHOLDER.split(after)

    def _filled(self, parts: Sequence[str], fields: Mapping[str, str]) -> str:
        missing = [name for name in parts[1::2] if name not in fields]
        if missing:
            known = ", ".join(fields) or "nothing"
            raise ConfigError(f"the prompt {self.template!r} names {{{missing[0]}}}, which the rows do not have; they have {known}.")
        return "".join(fields[part] if place % 2 else part for place, part in enumerate(parts))
