"""Sources whose prompts have several answers, best first: what reward models and DPO learn from.

Every one of them is a source of instructions as well: `read()` gives each prompt with its best answer, so `data=couplets` works for
supervised fine-tuning too.
"""

from __future__ import annotations

import hashlib
import math
import random
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datamodules.reading import Row, data_files, read_rows
from datamodules.sources.source import Source
from kinnari.text.conversation import Conversation, Message, Reject
from kinnari.text.ranked import RankedAnswers, ScoredAnswer

# A prompt and its answers, best first.
Ranking = tuple[tuple[Message, ...], tuple[ScoredAnswer, ...]]


@dataclass(frozen=True, kw_only=True)
class RankedSource(Source):
    """Prompts of one origin with their answers, best first.

    Args:
        min_score: `read` rejects prompts whose best answer scores less; None takes them all. Pairs are not concerned.
    """

    min_score: float | None = None

    @abstractmethod
    def read_ranked(self) -> Iterator[RankedAnswers | Reject]:
        """Every prompt with at least one answer that is not blank, the best one first."""

    def read(self) -> Iterator[Conversation | Reject]:
        """Each prompt with its best answer."""
        for item in self.read_ranked():
            if isinstance(item, Reject):
                yield item
                continue
            best = item.answers[0]
            if self.min_score is not None and best.score is not None and best.score < self.min_score:
                reason = f"the best answer scores {best.score:g}, less than min_score={self.min_score:g}"
                yield Reject(source=self.name, file=item.record_id, line=0, reason=reason, row=best.answer[:200])
                continue
            yield Conversation(
                messages=(*item.prompt, Message("assistant", best.answer)),
                record_id=item.record_id,
                source=item.source,
                language=item.language,
                licence=item.licence,
            )

    def ranked(self, ranking: Ranking, key: object, language: str | None = None) -> RankedAnswers:
        """The record of a prompt; `key` tells it from the others of this source."""
        prompt, answers = ranking
        return RankedAnswers(
            prompt=prompt,
            answers=answers,
            record_id=f"{self.name}:{key}",
            source=self.name,
            language=self.language if language is None else language,
            licence=self.licence,
        )


@dataclass(frozen=True, kw_only=True)
class RankedFileSource(RankedSource):
    """A source each of whose rows is a prompt with its answers.

    Args:
        path: a file, a folder of files, or the name of a hub dataset; see `datamodules.reading`.
        split, subset: of the hub dataset.
    """

    path: str
    split: str = "train"
    subset: str | None = None

    @abstractmethod
    def rank(self, row: Any) -> Ranking | str:
        """Prompt and answers of a decoded row of any type, or the reason why it is not a row of this source."""

    def files(self) -> list[Path]:
        """The local files behind `path`."""
        return data_files(self.path)

    def rows(self) -> Iterator[tuple[str, Row]]:
        """(file, row) of everything behind `path`."""
        return read_rows(self.path, split=self.split, subset=self.subset)

    def read_ranked(self) -> Iterator[RankedAnswers | Reject]:
        """One prompt per row; `record_id` counts rows, rejected ones as well."""
        for number, (file, row) in enumerate(self.rows()):
            result = row.error or self.rank(row.value)
            if isinstance(result, str):
                yield Reject(source=self.name, file=file, line=row.line, reason=result, row=row.value)
            else:
                yield self.ranked(result, number, self.row_language(row.value))

    def row_language(self, row: Any) -> str:
        """Language of one row; that of the source unless a source knows better."""
        return self.language


def joined(parts: Iterable[str], separator: str) -> str:
    """The parts of a prompt; a separator of spacing alone does not end it."""
    text = separator.join(parts)
    return text.rstrip() if separator.isspace() or not separator else text


def on_one_line(text: str) -> str:
    r"""Without \r and \n, which sunzeyeah/RLHF deletes from every field, and without spacing around."""
    return text.replace("\r", "").replace("\n", "").strip()


def number_of(value: Any) -> float | None:
    """A finite number, also one written as text, as in tables; else None."""
    if isinstance(value, bool):
        return float(value)
    if not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def draws(seed: int, *record: str) -> random.Random:
    """The random choices of one record: they depend on the seed and on the record itself, not on its place or on other records.

    Python's generator, of which only `random()` is used (the one method promised never to change): numpy's takes three times as long
    to seed, and every record has its own.
    """
    digest = hashlib.sha256("\x1f".join((str(seed), *record)).encode("utf-8", "surrogatepass")).digest()
    return random.Random(int.from_bytes(digest[:16], "big"))
