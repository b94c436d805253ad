"""Classical Chinese with its translation into modern Chinese (NiuTrans/Classical-Modern, MIT), text files of

    古文：假之以便，唆之使前，断其援应，陷之死地。
    现代文：故意露出一些破绽，以引诱敌人深入我方，乘机切断他的后援和前应，最终陷他于死地。

with blank lines between. Today's layout is 双语数据/<book>/.../bitext.txt, the older one a file per book in the folder bitext.
Scores as in sunzeyeah/RLHF: the true translation 1, two other sentences of the book 0, two of other books -1. The direction is drawn.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datamodules.reading.files import text_lines
from datamodules.reading.row import Row
from datamodules.sources.ranked import RankedSource, draws, joined
from datamodules.sources.source import one_place
from datamodules.sources.text_pool import TextPool
from kinnari.errors import ConfigError
from kinnari.text.conversation import Message, Reject
from kinnari.text.ranked import RankedAnswers, ScoredAnswer

DRAWN = 2  # worse sentences of each kind
CLASSICAL, MODERN = "古文", "现代文"
BOOKS = "双语数据"  # the folder of all books
CUE = re.compile(rf"({CLASSICAL}|{MODERN})[：:](.*)", re.DOTALL)


@dataclass(frozen=True)
class Sentence:
    """A sentence in both languages; `line` is that of the classical one."""

    classical: str
    modern: str
    line: int


@dataclass(frozen=True, kw_only=True)
class ClassicalModern(RankedSource):
    """A copy of the repository, or a folder in it.

    Args:
        path: a folder with bitext.txt files at any depth, or with a folder bitext, or a file.
        directions: `to_modern`, `to_classical` or `both`; with `both` each sentence is given one of them at random.
        seed: of direction and worse answers; what is drawn for a sentence does not depend on its place.
        separator: between the parts of the prompt; system R's own models take "<sep>".
    """

    path: str
    directions: str = "both"
    seed: int = 42
    separator: str = "\n"
    name: str = "classical_modern"
    language: str = "zh"
    licence: str = "MIT"

    def __post_init__(self) -> None:
        one_place(self.name, self.path)
        if self.directions not in ("both", "to_modern", "to_classical"):
            raise ConfigError(f"data.{self.name}.directions={self.directions!r} is not known. Use both, to_modern or to_classical.")

    def files(self) -> list[Path]:
        """The bilingual files, sorted; the one-language files beside them are not read.

        Raises:
            ConfigError: if there are none.
        """
        root = Path(self.path).expanduser()
        found = [root] if root.is_file() else sorted(root.rglob("bitext.txt"))
        if not found:
            flat = root if root.name == "bitext" else root / "bitext"
            found = sorted(p for p in flat.glob("*") if p.is_file() and not p.name.startswith("."))
        if not found:
            raise ConfigError(
                f"data.{self.name}.path={self.path} holds neither bitext.txt files nor a folder bitext. "
                "Give a copy of github.com/NiuTrans/Classical-Modern, or its folder 双语数据."
            )
        return found

    def read_ranked(self) -> Iterator[RankedAnswers | Reject]:
        """Reads the files twice: for the sentences to draw from, which stay in memory, and then sentence by sentence."""
        files = self.files()
        pools = {side: TextPool(self._texts(files, side)) for side in (CLASSICAL, MODERN)}
        number = 0
        for file in files:
            for item in sentences(file):
                if isinstance(item, Sentence):
                    yield self._ranked(item, self.book(file), pools, number)
                else:
                    yield Reject(source=self.name, file=str(file), line=item.line, reason=str(item.error), row=item.value)
                number += 1

    def book(self, file: Path) -> str:
        """The book a file belongs to: the folder below `BOOKS`, or below `path`; the file itself in the older layout."""
        if file.name != "bitext.txt":
            return file.stem
        root, parts = Path(self.path).expanduser().absolute(), file.absolute().parts
        if BOOKS in parts:
            return parts[parts.index(BOOKS) + 1]
        return root.parent.name if root.is_file() else file.absolute().relative_to(root).parts[0]

    def _texts(self, files: list[Path], side: str) -> Iterator[tuple[tuple[str], str]]:
        for file in files:
            for item in sentences(file):
                if isinstance(item, Sentence):
                    yield (self.book(file),), item.classical if side == CLASSICAL else item.modern

    def _ranked(self, sentence: Sentence, book: str, pools: dict[str, TextPool], number: int) -> RankedAnswers:
        generator = draws(self.seed, sentence.classical, sentence.modern)
        to_modern = generator.random() < 0.5 if self.directions == "both" else self.directions == "to_modern"
        asked, answered = (CLASSICAL, MODERN) if to_modern else (MODERN, CLASSICAL)
        question, answer = (sentence.classical, sentence.modern) if to_modern else (sentence.modern, sentence.classical)
        worse = [(text, 0.0) for text in pools[answered].draw(DRAWN, generator, within=(book,), but={answer})]
        shown = {answer, *(text for text, _ in worse)}
        worse += [(text, -1.0) for text in pools[answered].draw(DRAWN, generator, outside=(book,), but=shown)]
        prompt = Message("user", joined((f"{asked}：{question}", f"{answered}："), self.separator))
        return self.ranked(((prompt,), (ScoredAnswer(answer, 1.0), *(ScoredAnswer(t, s) for t, s in worse))), number)


def sentences(file: Path) -> Iterator[Sentence | Row]:
    """The sentences of a file; a line without its counterpart, or without a cue, as a row with its error."""
    classical: Row | None = None
    for row in text_lines(file, file.suffix):
        text = str(row.value or "").strip()
        cue = CUE.fullmatch(text) if not row.error else None
        if row.error or (text and not cue):
            yield Row(row.line, row.value, row.error or f"the line begins neither with {CLASSICAL}： nor with {MODERN}：")
            continue
        if not cue:
            continue
        side, content = cue.group(1), cue.group(2).strip()
        if side == MODERN and classical is not None and content and classical.value:
            yield Sentence(classical.value, content, classical.line)
            classical = None
            continue
        if side == MODERN or classical is not None:
            lone = classical or row
            yield Row(lone.line, str(lone.value)[:200], f"a sentence without its counterpart; {CLASSICAL}： is followed by {MODERN}：")
        classical = Row(row.line, content) if side == CLASSICAL else None
    if classical is not None:
        yield Row(classical.line, str(classical.value)[:200], f"a sentence without its counterpart; the file ends after {CLASSICAL}：")
